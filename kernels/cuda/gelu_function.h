// GELU in its tanh form: x / 2 (1 + tanh(u)) = x sigmoid(2 u), u = sqrt(2 / pi) (x + 0.044715 x^3).
#pragma once

#include "kernels/simt/device.h"

namespace wandistill::WD_KERNELS {

constexpr float kGeluSlope = 1.5957691216057308f;  // 2 sqrt(2 / pi)
constexpr float kGeluCubic = 0.044715f;

__device__ __forceinline__ float gelu(float x) {
  return __fdividef(x, 1.0f + __expf(-kGeluSlope * (x + kGeluCubic * x * x * x)));
}

__device__ __forceinline__ float gelu_derivative(float x) {
  const float s = __fdividef(1.0f, 1.0f + __expf(-kGeluSlope * (x + kGeluCubic * x * x * x)));
  return s + x * s * (1.0f - s) * kGeluSlope * (1.0f + 3.0f * kGeluCubic * x * x);
}

}  // namespace wandistill::WD_KERNELS
