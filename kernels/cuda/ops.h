// The table of all kernels' ops. Each kernel file enters its own, for T float and bf16.
#pragma once

#include "kernels/simt/device.h"
#include "wandistill/ops.h"

namespace wandistill::WD_KERNELS {

// clang-format off
template <class T> void add_adamw(OpsOf<T>& ops);
template <class T> void add_attention_backward(OpsOf<T>& ops);
template <class T> void add_attention_biased(OpsOf<T>& ops);
template <class T> void add_attention_forward(OpsOf<T>& ops);
template <class T> void add_cast(OpsOf<T>& ops);
template <class T> void add_column_sums(OpsOf<T>& ops);
template <class T> void add_conv2d(OpsOf<T>& ops);
template <class T> void add_ddim_update(OpsOf<T>& ops);
template <class T> void add_gated_residual(OpsOf<T>& ops);
template <class T> void add_gaussian(OpsOf<T>& ops);
template <class T> void add_gelu(OpsOf<T>& ops);
template <class T> void add_gelu_gated(OpsOf<T>& ops);
template <class T> void add_guidance(OpsOf<T>& ops);
template <class T> void add_layer_norm(OpsOf<T>& ops);
template <class T> void add_modulation(OpsOf<T>& ops);
template <class T> void add_patchify(OpsOf<T>& ops);
template <class T> void add_qk_norm_rope(OpsOf<T>& ops);
template <class T> void add_rgb8(OpsOf<T>& ops);
template <class T> void add_rms_norm(OpsOf<T>& ops);
template <class T> void add_rms_norm_silu(OpsOf<T>& ops);
template <class T> void add_silu(OpsOf<T>& ops);
template <class T> void add_squared_norm(OpsOf<T>& ops);
template <class T> void add_timestep_embedding(OpsOf<T>& ops);
template <class T> void add_unipc_update(OpsOf<T>& ops);
template <class T> void add_vae_image(OpsOf<T>& ops);
template <class T> void add_weighted_mse(OpsOf<T>& ops);
// clang-format on

}  // namespace wandistill::WD_KERNELS
