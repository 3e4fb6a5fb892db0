// Gated GELU (Shazeer 2020, https://arxiv.org/abs/2002.05202), as in T5 v1.1.
#pragma once

#include <cstdint>

#include "wandistill/queue.h"

namespace wandistill {

/// y = gelu(gate) * value, n elements, gelu in its tanh form (ops/activation.h). y may be gate or value
/// itself.
template <class T>
using GeluGatedForward = void(int64_t n, const T* gate, const T* value, T* y, const Queue& queue);

namespace ref {
GeluGatedForward<float> gelu_gated_forward;
}  // namespace ref
namespace cpu {
GeluGatedForward<float> gelu_gated_forward;
}  // namespace cpu

}  // namespace wandistill
