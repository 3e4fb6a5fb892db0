// Flash attention on tiles of kQueryTile x kKeyTile scores. One (sample, head) pair is one piece of work, so
// the order of additions depends on the shape alone; the tile products are oneDNN's.
#include "wandistill/ops/attention.h"

#include <algorithm>

#include "kernels/cpu/attention_tiles.h"
#include "kernels/cpu/parallel.h"
#include "wandistill/buffer.h"
#include "wandistill/ops/matmul.h"

namespace wandistill::cpu {
namespace {

constexpr int64_t kQueryTile = kMostQueries;  // numbers of rows that oneDNN's kernels divide without rest

/// s [rows, keys] = q k^T for one head of strided q and k.
void score_tile(const AttentionShape& s, int64_t rows, int64_t keys, const float* q, const float* k,
                float* tile) {
  const int64_t stride = s.heads * s.head_dim;
  matmul_serial({rows, keys, s.head_dim, false, true, stride, stride, keys}, q, k, tile);
}

}  // namespace

int64_t attention_scratch_bytes(int64_t queries, int64_t keys, int threads) {
  return threads * std::min(kQueryTile, queries) * std::min(kKeyTile, keys) *
         static_cast<int64_t>(sizeof(float));
}

void attention_forward(const AttentionShape& s, const float* q, const float* k, const float* v, float* out,
                       float* log_sum_exp, const Queue& queue) {
  const int64_t D = s.head_dim, stride = s.heads * D;
  const int64_t tiles = (s.queries + kQueryTile - 1) / kQueryTile;
  parallel_for(queue, s.batch * s.heads * tiles, [&](int64_t work) {
    const int64_t b = work / (s.heads * tiles), h = work / tiles % s.heads, i0 = work % tiles * kQueryTile;
    const int64_t rows = std::min(kQueryTile, s.queries - i0);
    const int64_t first = s.key_offsets[b], keys = s.key_offsets[b + 1] - first;
    const int64_t width = std::min(kKeyTile, keys);
    Buffer<float> tile(rows * width);
    TileSoftmax softmax(rows);
    float* o = out + (b * s.queries + i0) * stride + h * D;
    for (int64_t j0 = 0; j0 < keys; j0 += kKeyTile) {
      const int64_t n = std::min(kKeyTile, keys - j0);
      const int64_t at = (first + j0) * stride + h * D;
      score_tile(s, rows, n, q + (b * s.queries + i0) * stride + h * D, k + at, tile.data());
      scale_and_bias(s, b, j0 + n == keys, rows, n, tile.data());
      softmax.add(j0 == 0, n, tile.data(), D, stride, o);
      matmul_serial({rows, D, n, false, false, n, stride, stride, j0 == 0 ? 0.0f : 1.0f}, tile.data(), v + at,
                    o);
    }
    softmax.finish(D, stride, o, log_sum_exp ? log_sum_exp + (b * s.heads + h) * s.queries + i0 : nullptr);
  });
}

void attention_backward(const AttentionShape& s, const float* q, const float* k, const float* v,
                        const float* out, const float* log_sum_exp, const float* dout, float* dq, float* dk,
                        float* dv, const Queue& queue) {
  const int64_t D = s.head_dim, stride = s.heads * D;
  parallel_for(queue, s.batch * s.heads, [&](int64_t work) {
    const int64_t b = work / s.heads, h = work % s.heads;
    const int64_t first = s.key_offsets[b], keys = s.key_offsets[b + 1] - first;
    const int64_t width = std::min(kKeyTile, keys), height = std::min(kQueryTile, s.queries);
    Buffer<float> p_tile(height * width), ds_tile(height * width), delta(s.queries);
    const float* lse = log_sum_exp + work * s.queries;
    const int64_t at_head = b * s.queries * stride + h * D;
    output_dots(s.queries, D, stride, out + at_head, dout + at_head, delta.data());
    for (int64_t j0 = 0; j0 < keys; j0 += kKeyTile) {
      const int64_t n = std::min(kKeyTile, keys - j0);
      const int64_t at_k = (first + j0) * stride + h * D;
      for (int64_t i0 = 0; i0 < s.queries; i0 += kQueryTile) {
        const int64_t rows = std::min(kQueryTile, s.queries - i0);
        const int64_t at_q = (b * s.queries + i0) * stride + h * D;
        float* p = p_tile.data();
        float* ds = ds_tile.data();
        score_tile(s, rows, n, q + at_q, k + at_k, p);
        scale_and_bias(s, b, j0 + n == keys, rows, n, p);
        matmul_serial({rows, n, D, false, true, stride, stride, n}, dout + at_q, v + at_k, ds);
        score_gradients(s.scale, rows, n, lse + i0, delta.data() + i0, p, ds);
        const float later_rows = i0 == 0 ? 0.0f : 1.0f, later_keys = j0 == 0 ? 0.0f : 1.0f;
        matmul_serial({n, D, rows, true, false, n, stride, stride, later_rows}, p, dout + at_q, dv + at_k);
        matmul_serial({n, D, rows, true, false, n, stride, stride, later_rows}, ds, q + at_q, dk + at_k);
        matmul_serial({rows, D, n, false, false, n, stride, stride, later_keys}, ds, k + at_k, dq + at_q);
      }
    }
  });
}

}  // namespace wandistill::cpu
