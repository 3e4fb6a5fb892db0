// Between float32 and the type that activations and weights are kept in.
#pragma once

#include <cstdint>

#include "wandistill/queue.h"

namespace wandistill {

/// y [n] = x, to nearest, ties to even; NaN stays NaN.
template <class T>
using Narrow = void(int64_t n, const float* x, T* y, const Queue& queue);
/// y [n] = x, exactly.
template <class T>
using Widen = void(int64_t n, const T* x, float* y, const Queue& queue);

namespace ref {
Narrow<float> narrow;
Widen<float> widen;
}  // namespace ref

}  // namespace wandistill
