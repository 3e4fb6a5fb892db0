// Element-wise activations.
#pragma once

#include <cstdint>

#include "wandistill/queue.h"

namespace wandistill {

/// y = f(x), n elements. SiLU: x / (1 + exp(-x)). GELU in its tanh form (Hendrycks & Gimpel 2016):
/// x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))).
template <class T>
using ActivationForward = void(int64_t n, const T* x, T* y, const Queue& queue);
/// dx = f'(x) dy (dx may be dy itself).
template <class T>
using ActivationBackward = void(int64_t n, const T* x, const T* dy, T* dx, const Queue& queue);

namespace ref {
ActivationForward<float> silu_forward, gelu_forward;
ActivationBackward<float> silu_backward, gelu_backward;
}  // namespace ref
namespace cpu {
ActivationForward<float> silu_forward, gelu_forward;
ActivationBackward<float> silu_backward, gelu_backward;
}  // namespace cpu

}  // namespace wandistill
