// The 16-bit floating-point types: two bytes each, the same on the host, under the SIMT layer and on the GPU.
#pragma once

#include <cstdint>
#ifndef __CUDACC__
#include <bit>
#include <cstring>
#endif

namespace wandistill {

/// bfloat16: the upper half of a float32.
struct bf16 {
  uint16_t bits;
};
/// IEEE binary16.
struct fp16 {
  uint16_t bits;
};

// Conversions on the host; kernels have widen() and narrow() from kernels/simt/device.h.
#ifndef __CUDACC__
inline float to_float(bf16 value) {
  return std::bit_cast<float>(uint32_t{value.bits} << 16);
}
/// To nearest, ties to even; NaN stays NaN.
inline bf16 to_bf16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  if (value != value) return {static_cast<uint16_t>(bits >> 16 | 0x40)};
  return {static_cast<uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16)};
}
inline float to_float(fp16 value) {
  _Float16 half;
  std::memcpy(&half, &value, sizeof half);
  return static_cast<float>(half);
}
/// To nearest, ties to even; beyond 65504: infinity.
inline fp16 to_fp16(float value) {
  const auto half = static_cast<_Float16>(value);
  fp16 result;
  std::memcpy(&result, &half, sizeof half);
  return result;
}
#endif

}  // namespace wandistill
