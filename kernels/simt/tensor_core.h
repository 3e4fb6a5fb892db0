// Tensor-core tiles of the SIMT layer: the fragments of ldmatrix and mma.sync as the PTX manual lays them out
// over the lanes of a warp (sections "Matrix fragments for mma.m16n8k16 / m16n8k8", "ldmatrix"). All 32 lanes
// must be there. Products accumulate in float32, in the order of k; the hardware's order is its own.
#pragma once

#include <cstdint>
#include <type_traits>

#include "kernels/simt/block.h"
#include "wandistill/half.h"

namespace wandistill::simt {
namespace engine {

enum class Operand { kBf16, kFp16, kTf32 };

/// `tiles` tiles of 8 x 8 16-bit elements, whose rows the lanes 8 i to 8 i + 7 point to.
void load_matrix(uint32_t* registers, int tiles, bool transposed, const void* row, const Where& where);
void matrix_product(Operand operand, float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1,
                    const Where& where);

}  // namespace engine

inline void ldmatrix_x4(uint32_t (&tiles)[4], const void* row,
                        engine::Where where = engine::Where::current()) {
  engine::load_matrix(tiles, 4, false, row, where);
}
inline void ldmatrix_x4_trans(uint32_t (&tiles)[4], const void* row,
                              engine::Where where = engine::Where::current()) {
  engine::load_matrix(tiles, 4, true, row, where);
}
inline void ldmatrix_x2(uint32_t (&tiles)[2], const void* row,
                        engine::Where where = engine::Where::current()) {
  engine::load_matrix(tiles, 2, false, row, where);
}

/// c += a b; a [16, 16], b [16, 8] in columns, c [16, 8]; T is bf16 or fp16.
template <class T>
void mma_m16n8k16(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1,
                  engine::Where where = engine::Where::current()) {
  static_assert(std::is_same_v<T, bf16> || std::is_same_v<T, fp16>);
  engine::matrix_product(std::is_same_v<T, bf16> ? engine::Operand::kBf16 : engine::Operand::kFp16, c, a, b0,
                         b1, where);
}
/// c += a b; a [16, 8], b [8, 8] in columns, c [16, 8]; operands from to_tf32().
inline void mma_m16n8k8_tf32(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1,
                             engine::Where where = engine::Where::current()) {
  engine::matrix_product(engine::Operand::kTf32, c, a, b0, b1, where);
}

}  // namespace wandistill::simt
