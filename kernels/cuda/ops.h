// The table of all kernels' ops. Each kernel file enters its own, for T float and bf16.
#pragma once

#include "kernels/simt/device.h"
#include "wandistill/ops.h"

namespace wandistill::WD_KERNELS {

// clang-format off
template <class T> void add_attention_backward(OpsOf<T>& ops);
template <class T> void add_attention_forward(OpsOf<T>& ops);
template <class T> void add_column_sums(OpsOf<T>& ops);
template <class T> void add_gated_residual(OpsOf<T>& ops);
template <class T> void add_gelu(OpsOf<T>& ops);
template <class T> void add_guidance(OpsOf<T>& ops);
template <class T> void add_layer_norm(OpsOf<T>& ops);
template <class T> void add_modulation(OpsOf<T>& ops);
template <class T> void add_qk_norm_rope(OpsOf<T>& ops);
// clang-format on

}  // namespace wandistill::WD_KERNELS
