// Flash attention as in attention.cpp, with products of bfloat16. What is an operand more than once is packed
// once: a tile's products take little longer than packing its operands.
#include <algorithm>
#include <optional>
#include <vector>

#include "kernels/cpu/attention_tiles.h"
#include "kernels/cpu/bf16_tiles.h"
#include "kernels/cpu/parallel.h"
#include "wandistill/buffer.h"
#include "wandistill/ops/attention.h"

namespace wandistill::cpu_bf16 {
namespace {

using cpu::Bf16Operand, cpu::kKeyTile, cpu::packed_size, cpu::strips;

constexpr int64_t kQueryTile = 64;

/// Rows [rows, D] of one head, in tiles of `tile` rows, each packed as an operand of its own.
class PackedRows {
 public:
  enum class As {
    kLeft,    // the tile's rows are A's
    kRight,   // the tile's rows are B's columns
    kSummed,  // B, whose depth they are
  };

  PackedRows(As as, int64_t rows, int64_t tile, int64_t D, int64_t stride, const float* from)
      : size_(as == As::kSummed ? packed_size(D, tile) : packed_size(tile, D)),
        values_((rows + tile - 1) / tile * size_) {
    for (int64_t first = 0; first < rows; first += tile) {
      const int64_t n = std::min(tile, rows - first);
      const float* values = from + first * stride;
      bf16* to = values_.data() + first / tile * size_;
      if (as == As::kLeft)
        cpu::pack_left({values, n, D, stride, false}, 0, strips(n), to);
      else if (as == As::kRight)
        cpu::pack_right({values, n, D, stride, false}, 0, strips(n), to);
      else
        cpu::pack_right({values, D, n, stride, true}, 0, strips(D), to);
    }
  }
  const bf16* tile(int64_t index) const { return values_.data() + index * size_; }

 private:
  int64_t size_;
  Buffer<bf16> values_;
};

void multiply(int64_t m, int64_t n, int64_t depth, const bf16* a, const bf16* b, float* c, int64_t ldc,
              bool accumulate = false) {
  cpu::multiply_packed(cpu::bf16_unit(), m, n, depth, a, b, c, ldc, accumulate);
}

/// A left operand of a tile of floats.
const bf16* pack(const Bf16Operand& a, Buffer<bf16>* to) {
  cpu::pack_left(a, 0, strips(a.width), to->data());
  return to->data();
}

struct PackedKeys {
  PackedRows k, v;
};

}  // namespace

void attention_forward(const AttentionShape& s, const float* q, const float* k, const float* v, float* out,
                       float* log_sum_exp, const Queue& queue) {
  const int64_t D = s.head_dim, stride = s.heads * D;
  const int64_t tiles = (s.queries + kQueryTile - 1) / kQueryTile;
  std::vector<std::optional<PackedKeys>> packed(size_t(s.batch * s.heads));
  cpu::parallel_for(queue, s.batch * s.heads, [&](int64_t head) {
    const int64_t b = head / s.heads, first = s.key_offsets[b], keys = s.key_offsets[b + 1] - first;
    const int64_t at = first * stride + head % s.heads * D;
    packed[size_t(head)].emplace(PackedKeys{{PackedRows::As::kRight, keys, kKeyTile, D, stride, k + at},
                                            {PackedRows::As::kSummed, keys, kKeyTile, D, stride, v + at}});
  });
  cpu::parallel_for(queue, s.batch * s.heads * tiles, [&](int64_t work) {
    const int64_t head = work / tiles, b = head / s.heads, i0 = work % tiles * kQueryTile;
    const int64_t rows = std::min(kQueryTile, s.queries - i0);
    const int64_t keys = s.key_offsets[b + 1] - s.key_offsets[b], width = std::min(kKeyTile, keys);
    const int64_t at = (b * s.queries + i0) * stride + head % s.heads * D;
    Buffer<float> tile(rows * width);
    Buffer<bf16> p(packed_size(rows, width));
    const PackedRows left(PackedRows::As::kLeft, rows, kQueryTile, D, stride, q + at);
    cpu::TileSoftmax softmax(rows);
    for (int64_t j0 = 0; j0 < keys; j0 += kKeyTile) {
      const int64_t n = std::min(kKeyTile, keys - j0), index = j0 / kKeyTile;
      multiply(rows, n, D, left.tile(0), packed[size_t(head)]->k.tile(index), tile.data(), n);
      cpu::scale_and_bias(s, b, j0 + n == keys, rows, n, tile.data());
      softmax.add(j0 == 0, n, tile.data(), D, stride, out + at);
      multiply(rows, D, n, pack({tile.data(), rows, n, n, false}, &p), packed[size_t(head)]->v.tile(index),
               out + at, stride, j0 > 0);
    }
    softmax.finish(D, stride, out + at, log_sum_exp ? log_sum_exp + head * s.queries + i0 : nullptr);
  });
}

void attention_backward(const AttentionShape& s, const float* q, const float* k, const float* v,
                        const float* out, const float* log_sum_exp, const float* dout, float* dq, float* dk,
                        float* dv, const Queue& queue) {
  using As = PackedRows::As;
  const int64_t D = s.head_dim, stride = s.heads * D;
  cpu::parallel_for(queue, s.batch * s.heads, [&](int64_t work) {
    const int64_t b = work / s.heads, h = work % s.heads;
    const int64_t first = s.key_offsets[b], keys = s.key_offsets[b + 1] - first;
    const int64_t width = std::min(kKeyTile, keys), height = std::min(kQueryTile, s.queries);
    const int64_t queries_at = b * s.queries * stride + h * D, keys_at = first * stride + h * D;
    const PackedRows q_left(As::kLeft, s.queries, kQueryTile, D, stride, q + queries_at);
    const PackedRows q_summed(As::kSummed, s.queries, kQueryTile, D, stride, q + queries_at);
    const PackedRows dout_left(As::kLeft, s.queries, kQueryTile, D, stride, dout + queries_at);
    const PackedRows dout_summed(As::kSummed, s.queries, kQueryTile, D, stride, dout + queries_at);
    const PackedRows k_right(As::kRight, keys, kKeyTile, D, stride, k + keys_at);
    const PackedRows k_summed(As::kSummed, keys, kKeyTile, D, stride, k + keys_at);
    const PackedRows v_right(As::kRight, keys, kKeyTile, D, stride, v + keys_at);
    Buffer<float> p(height * width), ds(height * width), delta(s.queries);
    Buffer<bf16> left(std::max(packed_size(width, height), packed_size(height, width)));
    cpu::output_dots(s.queries, D, stride, out + queries_at, dout + queries_at, delta.data());
    for (int64_t j0 = 0, j = 0; j0 < keys; j0 += kKeyTile, ++j) {
      const int64_t n = std::min(kKeyTile, keys - j0), at_k = keys_at + j0 * stride;
      for (int64_t i0 = 0, i = 0; i0 < s.queries; i0 += kQueryTile, ++i) {
        const int64_t rows = std::min(kQueryTile, s.queries - i0), at_q = queries_at + i0 * stride;
        multiply(rows, n, D, q_left.tile(i), k_right.tile(j), p.data(), n);
        cpu::scale_and_bias(s, b, j0 + n == keys, rows, n, p.data());
        multiply(rows, n, D, dout_left.tile(i), v_right.tile(j), ds.data(), n);
        cpu::score_gradients(s.scale, rows, n, log_sum_exp + work * s.queries + i0, delta.data() + i0,
                             p.data(), ds.data());
        multiply(n, D, rows, pack({p.data(), n, rows, n, true}, &left), dout_summed.tile(i), dv + at_k,
                 stride, i0 > 0);
        multiply(n, D, rows, pack({ds.data(), n, rows, n, true}, &left), q_summed.tile(i), dk + at_k, stride,
                 i0 > 0);
        multiply(rows, D, n, pack({ds.data(), rows, n, n, false}, &left), k_summed.tile(j), dq + at_q, stride,
                 j0 > 0);
      }
    }
  });
}

}  // namespace wandistill::cpu_bf16
