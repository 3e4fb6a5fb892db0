#include "wandistill/ops.h"

namespace wandistill {

const Ops kCpuOps = {
    .linear_forward = cpu::linear_forward,
    .linear_backward = cpu::linear_backward,
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
    .patchify = ref::patchify,
    .unpatchify = ref::unpatchify,
    .unpatchify_backward = ref::unpatchify_backward,
    .timestep_embedding = ref::timestep_embedding,
    .weighted_mse = cpu::weighted_mse,
    .squared_norm = cpu::squared_norm,
    .adamw = cpu::adamw,
};

const Ops kRefOps = {
    .linear_forward = ref::linear_forward,
    .linear_backward = ref::linear_backward,
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
    .patchify = ref::patchify,
    .unpatchify = ref::unpatchify,
    .unpatchify_backward = ref::unpatchify_backward,
    .timestep_embedding = ref::timestep_embedding,
    .weighted_mse = ref::weighted_mse,
    .squared_norm = ref::squared_norm,
    .adamw = ref::adamw,
};

}  // namespace wandistill
