// Products of matrices of bfloat16 with sums in float32, by the CPU's own instructions for them.
//
// An operand is packed before: cut into tiles of 1 KB, 16 rows of 32 values, as AMX takes them. Two tiles
// beside each other make a strip of 32 rows of A or 32 columns of B; a strip is contiguous, from the first 32
// values of depth to the last. What is beyond the matrix is 0.
#pragma once

#include <cstdint>

#include "wandistill/half.h"

namespace wandistill::cpu {

/// What the CPU multiplies bfloat16 with.
enum class Bf16Unit { kNone, kAvx512, kAmx };
/// The best that CPU and operating system have.
Bf16Unit bf16_unit();

constexpr int64_t kStrip = 32;       // rows of A, columns of B
constexpr int64_t kStripDepth = 32;  // that a tile has of the depth

inline int64_t strips(int64_t width) {
  return (width + kStrip - 1) / kStrip;
}
/// Values of one packed strip, and of a whole packed operand.
inline int64_t strip_size(int64_t depth) {
  return (depth + kStripDepth - 1) / kStripDepth * kStripDepth * kStrip;
}
inline int64_t packed_size(int64_t width, int64_t depth) {
  return strips(width) * strip_size(depth);
}

/// A matrix of floats as an operand: width is the rows of A or the columns of B, depth is what is summed
/// over.
struct Bf16Operand {
  const float* from;
  int64_t width, depth;
  int64_t stride;      // between rows as they lie in memory
  bool depth_is_rows;  // element (i, k) is from[k * stride + i], else from[i * stride + k]
};

/// Rounds and packs strips [begin, end) to their places in `to` [packed_size()].
void pack_left(const Bf16Operand& a, int64_t begin, int64_t end, bf16* to);
void pack_right(const Bf16Operand& b, int64_t begin, int64_t end, bf16* to);

/// c [m, n] (rows ldc apart) = (or +=, if accumulate) A B of packed operands, by one thread. A value's sum is
/// taken in the same order whatever m and n.
void multiply_packed(Bf16Unit unit, int64_t m, int64_t n, int64_t depth, const bf16* a, const bf16* b,
                     float* c, int64_t ldc, bool accumulate);

}  // namespace wandistill::cpu
