#include "wandistill/ops/round16.h"

#include <bit>
#include <cmath>
#include <limits>

#include "kernels/cpu/parallel.h"

namespace wandistill::cpu {
namespace {

constexpr int64_t kStep = 32768;

}  // namespace

void round_bfloat16(int64_t n, float* x, const Queue& queue) {
  parallel_blocks(queue, n, kStep, [&](int64_t begin, int64_t end) {
#pragma omp simd
    for (int64_t i = begin; i < end; ++i) {
      const uint32_t bits = std::bit_cast<uint32_t>(x[i]);  // a bfloat16 is the upper half of a float32
      const uint32_t rounded = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000;
      const bool nan = (bits & 0x7fffffff) > 0x7f800000;  // the carry could run out of its mantissa
      x[i] = std::bit_cast<float>(nan ? bits : rounded);
    }
  });
}

// Adding and subtracting 2^13 times the number's own power of two leaves float16's 11 bits, correctly rounded
// (g++ 12 does not vectorise conversions to _Float16).
void round_float16(int64_t n, float* x, const Queue& queue) {
  parallel_blocks(queue, n, kStep, [&](int64_t begin, int64_t end) {
#pragma omp simd
    for (int64_t i = begin; i < end; ++i) {
      const float size = std::abs(x[i]);
      const uint32_t power = std::bit_cast<uint32_t>(size) & 0x7f800000;
      const uint32_t smallest = std::bit_cast<uint32_t>(0x1p-14f);  // below it the spacing stays the same
      const float shift = std::bit_cast<float>((power > smallest ? power : smallest) + (13 << 23));
      const float rounded = (size + shift) - shift;
      const float infinite = size + std::numeric_limits<float>::infinity();  // or NaN
      x[i] = std::copysign(size < 65520.0f ? rounded : infinite, x[i]);
    }
  });
}

}  // namespace wandistill::cpu
