// Normally distributed numbers by counter: the arithmetic of src/tensor/philox.cpp, which explains it,
// operation by operation, so that the bits are the same.
#pragma once

#include "kernels/simt/device.h"

namespace wandistill::WD_KERNELS {

/// One block of Philox 4x32 with 10 rounds.
__device__ __forceinline__ void philox4x32(uint64_t seed, uint64_t stream, uint64_t index, uint32_t (&r)[4]) {
  r[0] = static_cast<uint32_t>(index);
  r[1] = static_cast<uint32_t>(index >> 32);
  r[2] = static_cast<uint32_t>(stream);
  r[3] = static_cast<uint32_t>(stream >> 32);
  uint32_t key0 = static_cast<uint32_t>(seed), key1 = static_cast<uint32_t>(seed >> 32);
#pragma unroll
  for (int round = 0; round < 10; ++round) {
    const uint32_t a = 0xD2511F53u * r[0], a_high = __umulhi(0xD2511F53u, r[0]);
    const uint32_t b = 0xCD9E8D57u * r[2], b_high = __umulhi(0xCD9E8D57u, r[2]);
    r[0] = b_high ^ r[1] ^ key0;
    r[1] = b;
    r[2] = a_high ^ r[3] ^ key1;
    r[3] = a;
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
}

__device__ __forceinline__ float minus_log_uniform(uint32_t r) {
  constexpr float kScale = 0x1p-32f, kHalf = 0x1p-33f, kSqrtHalf = 0.70710678f;
  const float below_one = __fmaf_rn(static_cast<float>(~r), kScale, kHalf);
  float f = -below_one;
  float exponent = 0;
  if (below_one > 1 - kSqrtHalf) {
    const uint32_t shifted = __float_as_uint(__fmaf_rn(static_cast<float>(r), kScale, kHalf)) - 0x3f3504f3u;
    f = __fadd_rn(__uint_as_float((shifted & 0x007fffffu) + 0x3f3504f3u), -1.0f);
    exponent = static_cast<float>(static_cast<int32_t>(shifted) >> 23);
  }
  float q = -0.0763442963f;
  q = __fmaf_rn(q, f, 0.127615497f);
  q = __fmaf_rn(q, f, -0.131601945f);
  q = __fmaf_rn(q, f, 0.142017618f);
  q = __fmaf_rn(q, f, -0.166233569f);
  q = __fmaf_rn(q, f, 0.200012267f);
  q = __fmaf_rn(q, f, -0.250008225f);
  q = __fmaf_rn(q, f, 0.333333313f);
  const float f2 = __fmul_rn(f, f);
  const float tail = __fmaf_rn(__fmul_rn(f, f2), q, __fmul_rn(-0.5f, f2));
  constexpr float kLn2High = 0.693145752f, kLn2Low = 1.42860677e-6f;
  return -__fmaf_rn(exponent, kLn2High, __fadd_rn(f, __fmaf_rn(exponent, kLn2Low, tail)));
}

__device__ __forceinline__ void cos_sin_uniform(uint32_t r, float& cosine, float& sine) {
  const uint32_t quadrant = (r + 0x20000000u) >> 30;
  const float rest = static_cast<float>(static_cast<int32_t>(r - (quadrant << 30)));
  constexpr float kScale = 1.46291808e-9f;
  const float t = __fmaf_rn(rest, kScale, 0.5f * kScale);
  const float z = __fmul_rn(t, t);
  const float s_poly = __fmaf_rn(__fmaf_rn(-0.000195172979f, z, 0.008332178f), z, -0.166666552f);
  const float s = __fmaf_rn(__fmul_rn(t, z), s_poly, t);
  const float c_poly = __fmaf_rn(__fmaf_rn(2.44384501e-5f, z, -0.00138873677f), z, 0.0416666456f);
  const float c = __fmaf_rn(__fmul_rn(z, z), c_poly, __fmaf_rn(z, -0.5f, 1.0f));
  const bool odd = (quadrant & 1u) != 0;
  const float swapped_c = odd ? s : c, swapped_s = odd ? c : s;
  cosine = ((quadrant + 1u) & 2u) != 0 ? -swapped_c : swapped_c;
  sine = (quadrant & 2u) != 0 ? -swapped_s : swapped_s;
}

/// z = the standard normal numbers of elements 4 index to 4 index + 3.
__device__ __forceinline__ void gaussian_block(uint64_t seed, uint64_t stream, int64_t index, float (&z)[4]) {
  uint32_t r[4];
  philox4x32(seed, stream, static_cast<uint64_t>(index), r);
#pragma unroll
  for (int pair = 0; pair < 4; pair += 2) {
    const float radius = __fsqrt_rn(__fmul_rn(2.0f, minus_log_uniform(r[pair])));
    float c, s;
    cos_sin_uniform(r[pair + 1], c, s);
    z[pair] = __fmul_rn(radius, c);
    z[pair + 1] = __fmul_rn(radius, s);
  }
}

}  // namespace wandistill::WD_KERNELS
