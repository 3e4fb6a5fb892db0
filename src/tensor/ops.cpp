#include "wandistill/ops.h"

namespace wandistill {

const Ops kCpuOps = {
    .linear_forward = cpu::linear_forward,
    .linear_gelu_forward = cpu::linear_gelu_forward,
    .linear_backward = cpu::linear_backward,
    .add_column_sums = cpu::add_column_sums,
    .attention_forward = cpu::attention_forward,
    .attention_backward = cpu::attention_backward,
    .layer_norm_forward = cpu::layer_norm_forward,
    .layer_norm_backward = cpu::layer_norm_backward,
    .gated_residual_forward = cpu::gated_residual_forward,
    .gated_residual_backward = cpu::gated_residual_backward,
    .qk_norm_rope_forward = cpu::qk_norm_rope_forward,
    .qk_norm_rope_backward = cpu::qk_norm_rope_backward,
    .silu_forward = cpu::silu_forward,
    .silu_backward = cpu::silu_backward,
    .gelu_forward = cpu::gelu_forward,
    .gelu_backward = cpu::gelu_backward,
    .modulation_forward = ref::modulation_forward,
    .modulation_backward = ref::modulation_backward,
    .patchify = ref::patchify,
    .unpatchify = ref::unpatchify,
    .unpatchify_backward = ref::unpatchify_backward,
    .timestep_embedding = ref::timestep_embedding,
    .narrow = ref::narrow,
    .widen = ref::widen,
    .weighted_mse = cpu::weighted_mse,
    .squared_norm = cpu::squared_norm,
    .plan_update = ref::plan_update,
    .adamw = cpu::adamw,
    .gaussian = ref::gaussian,
    .guidance = ref::guidance,
    .ddim_update = cpu::ddim_update,
    .unipc_update = cpu::unipc_update,
    .conv2d_forward = cpu::conv2d_forward,
    .rms_norm_silu_forward = cpu::rms_norm_silu_forward,
    .vae_image = ref::vae_image,
    .rgb8 = ref::rgb8,
    .matmul = cpu::matmul,
    .rms_norm_forward = cpu::rms_norm_forward,
    .gelu_gated_forward = cpu::gelu_gated_forward,
    .attention_biased_forward = cpu::attention_biased_forward,
};

const Ops kCpuBf16Ops = [] {
  Ops ops = kCpuOps;
  ops.linear_forward = cpu_bf16::linear_forward;
  ops.linear_gelu_forward = cpu_bf16::linear_gelu_forward;
  ops.linear_backward = cpu_bf16::linear_backward;
  ops.attention_forward = cpu_bf16::attention_forward;
  ops.attention_backward = cpu_bf16::attention_backward;
  return ops;
}();

const Ops kRefOps = {
    .linear_forward = ref::linear_forward,
    .linear_gelu_forward = ref::linear_gelu_forward,
    .linear_backward = ref::linear_backward,
    .add_column_sums = ref::add_column_sums,
    .attention_forward = ref::attention_forward,
    .attention_backward = ref::attention_backward,
    .layer_norm_forward = ref::layer_norm_forward,
    .layer_norm_backward = ref::layer_norm_backward,
    .gated_residual_forward = ref::gated_residual_forward,
    .gated_residual_backward = ref::gated_residual_backward,
    .qk_norm_rope_forward = ref::qk_norm_rope_forward,
    .qk_norm_rope_backward = ref::qk_norm_rope_backward,
    .silu_forward = ref::silu_forward,
    .silu_backward = ref::silu_backward,
    .gelu_forward = ref::gelu_forward,
    .gelu_backward = ref::gelu_backward,
    .modulation_forward = ref::modulation_forward,
    .modulation_backward = ref::modulation_backward,
    .patchify = ref::patchify,
    .unpatchify = ref::unpatchify,
    .unpatchify_backward = ref::unpatchify_backward,
    .timestep_embedding = ref::timestep_embedding,
    .narrow = ref::narrow,
    .widen = ref::widen,
    .weighted_mse = ref::weighted_mse,
    .squared_norm = ref::squared_norm,
    .plan_update = ref::plan_update,
    .adamw = ref::adamw,
    .gaussian = ref::gaussian,
    .guidance = ref::guidance,
    .ddim_update = ref::ddim_update,
    .unipc_update = ref::unipc_update,
    .conv2d_forward = ref::conv2d_forward,
    .rms_norm_silu_forward = ref::rms_norm_silu_forward,
    .vae_image = ref::vae_image,
    .rgb8 = ref::rgb8,
    .matmul = ref::matmul,
    .rms_norm_forward = ref::rms_norm_forward,
    .gelu_gated_forward = ref::gelu_gated_forward,
    .attention_biased_forward = ref::attention_biased_forward,
};

}  // namespace wandistill
