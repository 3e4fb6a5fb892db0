// Element-wise activations.
#pragma once

#include <cstdint>

#include "wandistill/queue.h"

namespace wandistill {

/// y = f(x), n elements. SiLU: x / (1 + exp(-x)). GELU in its tanh form (Hendrycks & Gimpel 2016):
/// x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))).
using ActivationForward = void(int64_t n, const float* x, float* y, const Queue& queue);
/// dx = f'(x) dy (dx may be dy itself).
using ActivationBackward = void(int64_t n, const float* x, const float* dy, float* dx, const Queue& queue);

namespace ref {
ActivationForward silu_forward, gelu_forward;
ActivationBackward silu_backward, gelu_backward;
}  // namespace ref
namespace cpu {
ActivationForward silu_forward, gelu_forward;
ActivationBackward silu_backward, gelu_backward;
}  // namespace cpu
namespace cuda {
ActivationForward gelu_forward;
ActivationBackward gelu_backward;
}  // namespace cuda
namespace simt {
ActivationForward gelu_forward;
ActivationBackward gelu_backward;
}  // namespace simt

}  // namespace wandistill
