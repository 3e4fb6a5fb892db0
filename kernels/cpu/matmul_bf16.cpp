// Linear layers with products of bfloat16.
#include <algorithm>

#include "kernels/cpu/bf16_tiles.h"
#include "kernels/cpu/parallel.h"
#include "wandistill/buffer.h"
#include "wandistill/converted_weights.h"
#include "wandistill/ops/activation.h"
#include "wandistill/ops/matmul.h"

namespace wandistill {
namespace {

using cpu::Bf16Operand, cpu::pack_left, cpu::pack_right, cpu::packed_size, cpu::parallel_blocks,
    cpu::parallel_for, cpu::strip_size, cpu::strips;

/// As the right operand of x W^T, and of dy W.
Bf16Operand operand(const float* weight, int64_t n, int64_t k, ConvertedWeights::Use use) {
  if (use == ConvertedWeights::Use::kForward) return {weight, n, k, k, false};
  return {weight, k, n, k, true};
}

template <class Pack>
void pack(const Bf16Operand& operand, Pack* pack_strips, bf16* to, const Queue& queue) {
  parallel_blocks(queue, strips(operand.width), cpu::rows_per_task(operand.depth * cpu::kStrip / 4),
                  [&](int64_t begin, int64_t end) { pack_strips(operand, begin, end, to); });
}

/// Its place among the converted weights, or in `own`, where it is packed now.
const bf16* packed_weight(const float* weight, int64_t n, int64_t k, ConvertedWeights::Use use,
                          const Queue& queue, Buffer<bf16>* own) {
  const bf16* kept = queue.converted ? queue.converted->find(weight, n, k, use, queue) : nullptr;
  if (kept) return kept;
  const Bf16Operand right = operand(weight, n, k, use);
  *own = Buffer<bf16>(packed_size(right.width, right.depth));
  pack(right, pack_right, own->data(), queue);
  return own->data();
}

/// c [m, n] = (or +=) A B + bias, by blocks. The order of a value's sum does not depend on the blocks.
void multiply(int64_t m, int64_t n, const Bf16Operand& a, const bf16* b, const float* bias, float* c,
              bool accumulate, const Queue& queue) {
  constexpr int64_t kRows = 256,
                    kColumns = 256;  // of a block: as much of A and B as stays in the second-level cache
  constexpr int64_t kLeastWork = 4 << 20;  // multiply-adds that are worth waking a thread
  const int64_t strip = strip_size(a.depth);
  Buffer<bf16> left(packed_size(m, a.depth));
  const bool small = m * n * a.depth < kLeastWork;
  const Queue own = small ? Queue{} : queue;
  pack(a, pack_left, left.data(), own);
  const int64_t rows =
      std::min(kRows, std::max(cpu::kStrip, (m / 4 + cpu::kStrip - 1) / cpu::kStrip * cpu::kStrip));
  const int64_t down = (m + rows - 1) / rows, across = (n + kColumns - 1) / kColumns;
  parallel_for(own, down * across, [&](int64_t index) {
    const int64_t i = index / across * rows, j = index % across * kColumns;
    const int64_t height = std::min(rows, m - i), width = std::min(kColumns, n - j);
    float* const block = c + i * n + j;
    if (bias)
      for (int64_t row = 0; row < height; ++row) std::copy_n(bias + j, width, block + row * n);
    cpu::multiply_packed(cpu::bf16_unit(), height, width, a.depth, left.data() + i / cpu::kStrip * strip,
                         b + j / cpu::kStrip * strip, block, n, accumulate || bias);
  });
}

}  // namespace

const bf16* ConvertedWeights::find(const float* weight, int64_t n, int64_t k, Use use, const Queue& queue) {
  const Bf16Operand right = operand(weight, n, k, use);
  const int64_t count = packed_size(right.width, right.depth);
  Packed& packed = packed_[{weight, use}];
  if (packed.values.size() != count) {
    const int64_t bytes = bytes_ + int64_t(sizeof(bf16)) * (count - packed.values.size());
    if (bytes > most_bytes_) return nullptr;
    packed.values = Buffer<bf16>(count);
    packed.version = -1;
    bytes_ = bytes;
  }
  if (packed.version != version_) {
    pack(right, pack_right, packed.values.data(), queue);
    packed.version = version_;
  }
  return packed.values.data();
}

namespace cpu_bf16 {

const char* instructions() {
  const cpu::Bf16Unit unit = cpu::bf16_unit();
  return unit == cpu::Bf16Unit::kAmx ? "AMX" : unit == cpu::Bf16Unit::kAvx512 ? "AVX-512 BF16" : nullptr;
}

void linear_forward(int64_t m, int64_t n, int64_t k, const float* x, const float* weight, const float* bias,
                    float* y, const Queue& queue) {
  Buffer<bf16> own;
  const bf16* const w = packed_weight(weight, n, k, ConvertedWeights::Use::kForward, queue, &own);
  multiply(m, n, {x, m, k, k, false}, w, bias, y, false, queue);
}

void linear_gelu_forward(int64_t m, int64_t n, int64_t k, const float* x, const float* weight,
                         const float* bias, float* raw, float* act, const Queue& queue) {
  linear_forward(m, n, k, x, weight, bias, raw, queue);
  cpu::gelu_forward(m * n, raw, act, queue);
}

void linear_backward(int64_t m, int64_t n, int64_t k, const float* x, const float* weight, const float* dy,
                     float* dx, bool accumulate_dx, float* dweight, bool accumulate_dweight, float* dbias,
                     const Queue& queue) {
  Buffer<bf16> own;
  if (dx) {
    const bf16* const w = packed_weight(weight, n, k, ConvertedWeights::Use::kInputGradient, queue, &own);
    multiply(m, k, {dy, m, n, n, false}, w, nullptr, dx, accumulate_dx, queue);
  }
  if (dweight) {
    const Bf16Operand right{x, k, m, k, true};
    own = Buffer<bf16>(packed_size(k, m));
    pack(right, pack_right, own.data(), queue);
    multiply(n, k, {dy, n, m, n, true}, own.data(), nullptr, dweight, accumulate_dweight, queue);
  }
  if (dbias && !accumulate_dweight) std::fill_n(dbias, n, 0.0f);
  if (dbias) cpu::add_column_sums(m, n, dy, dbias, queue);
}

}  // namespace cpu_bf16
}  // namespace wandistill
