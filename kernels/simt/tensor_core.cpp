#include "kernels/simt/tensor_core.h"

#include <bit>
#include <cstring>

#include "kernels/simt/sanitizers.h"
#include "kernels/simt/warp.h"
#include "wandistill/error.h"

namespace wandistill::simt::engine {
namespace {

struct Fragments {
  uint32_t a[4], b[2];
  float c[4];
};
static_assert(sizeof(Fragments) <= sizeof(Slot));

/// Element 0 (low) or 1 (high) of a register.
template <Operand operand>
float element(uint32_t bits, int which) {
  const auto half = static_cast<uint16_t>(which ? bits >> 16 : bits);
  return operand == Operand::kBf16 ? to_float(bf16{half}) : to_float(fp16{half});
}

/// Puts the lanes' fragments together, multiplies, and hands each lane its part of c.
template <Operand operand>
void multiply(Slot* slots) {
  constexpr int K = operand == Operand::kTf32 ? 8 : 16;
  float a[16][K], b[K][8], c[16][8];
  for (int lane = 0; lane < 32; ++lane) {
    Fragments f;
    std::memcpy(&f, slots[lane].bytes, sizeof f);
    const int row = lane / 4, in_row = lane % 4;
    if constexpr (operand == Operand::kTf32) {
      const auto tf32 = [](uint32_t bits) { return std::bit_cast<float>(bits & ~0x1FFFu); };
      a[row][in_row] = tf32(f.a[0]);
      a[row + 8][in_row] = tf32(f.a[1]);
      a[row][in_row + 4] = tf32(f.a[2]);
      a[row + 8][in_row + 4] = tf32(f.a[3]);
      b[in_row][row] = tf32(f.b[0]);
      b[in_row + 4][row] = tf32(f.b[1]);
    } else {
      for (int i = 0; i < 2; ++i) {
        const int k = in_row * 2 + i;
        a[row][k] = element<operand>(f.a[0], i);
        a[row + 8][k] = element<operand>(f.a[1], i);
        a[row][k + 8] = element<operand>(f.a[2], i);
        a[row + 8][k + 8] = element<operand>(f.a[3], i);
        b[k][row] = element<operand>(f.b[0], i);
        b[k + 8][row] = element<operand>(f.b[1], i);
      }
    }
    for (int i = 0; i < 4; ++i) c[row + i / 2 * 8][in_row * 2 + i % 2] = f.c[i];
  }
  for (int i = 0; i < 16; ++i)
    for (int k = 0; k < K; ++k)
      for (int j = 0; j < 8; ++j) c[i][j] += a[i][k] * b[k][j];
  for (int lane = 0; lane < 32; ++lane) {
    const int row = lane / 4, in_row = lane % 4;
    float mine[4];
    for (int i = 0; i < 4; ++i) mine[i] = c[row + i / 2 * 8][in_row * 2 + i % 2];
    std::memcpy(slots[lane].bytes + offsetof(Fragments, c), mine, sizeof mine);
  }
}

void require_whole_warp(const Where& where) {
  if (current->warp().live != ~0u)
    current->block->fail("ldmatrix and mma need all 32 lanes of the warp; some have returned, at", where);
}

}  // namespace

void load_matrix(uint32_t* registers, int tiles, bool transposed, const void* row, const Where& where) {
  require_whole_warp(where);
  const int lane = current->lane();
  if (lane < tiles * 8 && reinterpret_cast<uintptr_t>(row) % 16 != 0)
    current->block->fail("ldmatrix: a row does not start at a multiple of 16 bytes, at", where);
  const Slot* slots = meet(~0u, Collective::kLoadMatrix, &row, sizeof row, where);
  for (int tile = 0; tile < tiles; ++tile) {
    uint32_t both = 0;
    for (int i = 0; i < 2; ++i) {
      const int across = lane / 4, along = lane % 4 * 2 + i;
      const uint16_t* from;
      std::memcpy(&from, slots[tile * 8 + (transposed ? along : across)].bytes, sizeof from);
      from += transposed ? across : along;
      note_read2(from);
      both |= uint32_t{*from} << (16 * i);
    }
    registers[tile] = both;
  }
}

void matrix_product(Operand operand, float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1,
                    const Where& where) {
  require_whole_warp(where);
  const Fragments mine{{a[0], a[1], a[2], a[3]}, {b0, b1}, {c[0], c[1], c[2], c[3]}};
  void (*const last)(Slot*) = operand == Operand::kBf16   ? multiply<Operand::kBf16>
                              : operand == Operand::kFp16 ? multiply<Operand::kFp16>
                                                          : multiply<Operand::kTf32>;
  const Slot* slots = meet(~0u, Collective::kMatrixProduct, &mine, sizeof mine, where, nullptr, last);
  std::memcpy(c, slots[current->lane()].bytes + offsetof(Fragments, c), sizeof c);
}

}  // namespace wandistill::simt::engine
