// Every op that is a kernel of ours, in one table (include/wandistill/kernel_ops.h).
#include "kernels/cuda/ops.h"
#include "wandistill/kernel_ops.h"

namespace wandistill::WD_KERNELS {

template <class T>
const OpsOf<T>& kernel_ops() {
  static const OpsOf<T> table = [] {
    OpsOf<T> ops{};
    add_adamw(ops);
    add_attention_backward(ops);
    add_attention_biased(ops);
    add_attention_forward(ops);
    add_cast(ops);
    add_column_sums(ops);
    add_conv2d(ops);
    add_ddim_update(ops);
    add_gated_residual(ops);
    add_gaussian(ops);
    add_gelu(ops);
    add_gelu_gated(ops);
    add_guidance(ops);
    add_layer_norm(ops);
    add_modulation(ops);
    add_patchify(ops);
    add_qk_norm_rope(ops);
    add_rgb8(ops);
    add_rms_norm(ops);
    add_rms_norm_silu(ops);
    add_silu(ops);
    add_squared_norm(ops);
    add_timestep_embedding(ops);
    add_unipc_update(ops);
    add_vae_image(ops);
    add_weighted_mse(ops);
    return ops;
  }();
  return table;
}
template const OpsOf<float>& kernel_ops();
template const OpsOf<bf16>& kernel_ops();

}  // namespace wandistill::WD_KERNELS
