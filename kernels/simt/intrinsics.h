// CUDA's arithmetic intrinsics for the SIMT layer, those that kernels use. The approximate ones are exact
// here: compare with tolerances that have room for the GPU's.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

#include "wandistill/half.h"

namespace wandistill::simt {

inline float __expf(float x) {
  return std::exp(x);
}
inline float __logf(float x) {
  return std::log(x);
}
/// 2^x; 0 where it is less than 2^-126.
inline float exp2_approx(float x) {
  return x < -126.0f ? 0.0f : std::exp2(x);
}
inline float __fdividef(float a, float b) {
  return a / b;
}
inline float rsqrtf(float x) {
  return 1.0f / std::sqrt(x);
}
// As written, never contracted: for what must have the same bits everywhere.
inline float __fadd_rn(float a, float b) {
  return a + b;
}
inline float __fmul_rn(float a, float b) {
  return a * b;
}
inline float __fmaf_rn(float a, float b, float c) {
  return std::fma(a, b, c);
}
inline float __fdiv_rn(float a, float b) {
  return a / b;
}
inline float __fsqrt_rn(float x) {
  return std::sqrt(x);
}
inline unsigned __umulhi(unsigned a, unsigned b) {
  return static_cast<unsigned>(uint64_t{a} * b >> 32);
}
inline float __uint_as_float(unsigned bits) {
  return std::bit_cast<float>(bits);
}
inline unsigned __float_as_uint(float x) {
  return std::bit_cast<unsigned>(x);
}
template <class T>
T __ldg(const T* at) {
  return *at;
}

// Between float and what tensors are stored as; narrow() rounds to nearest, ties to even.
inline float widen(float x) {
  return x;
}
inline float widen(bf16 x) {
  return to_float(x);
}
inline float widen(fp16 x) {
  return to_float(x);
}
template <class T>
T narrow(float x);
template <>
inline float narrow<float>(float x) {
  return x;
}
template <>
inline bf16 narrow<bf16>(float x) {
  return to_bf16(x);
}
template <>
inline fp16 narrow<fp16>(float x) {
  return to_fp16(x);
}
/// Two 16-bit values in one register, the first in the lower half: as mma takes them.
template <class T>
uint32_t pack2(float low, float high) {
  return uint32_t{narrow<T>(low).bits} | uint32_t{narrow<T>(high).bits} << 16;
}
/// A float as mma_m16n8k8_tf32 takes it: 10 bits of mantissa, to nearest, ties away from zero.
inline uint32_t to_tf32(float x) {
  const auto bits = std::bit_cast<uint32_t>(x);
  return x - x == 0 ? (bits + 0x1000) & ~0x1FFFu : bits;
}

}  // namespace wandistill::simt
