// Flash attention on tiles of kQueryTile x kKeyTile scores. One (sample, head) pair is one piece of work, so
// the order of additions depends on the shape alone; the tile products are oneDNN's.
#include "wandistill/ops/attention.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/cpu/fast_exp.h"
#include "kernels/cpu/parallel.h"
#include "wandistill/buffer.h"
#include "wandistill/ops/matmul.h"

namespace wandistill::cpu {
namespace {

constexpr int64_t kQueryTile = 64, kKeyTile = 256;

/// s [rows, keys] = q k^T for one head of strided q and k.
void score_tile(const AttentionShape& s, int64_t rows, int64_t keys, const float* q, const float* k,
                float* tile) {
  const int64_t stride = s.heads * s.head_dim;
  matmul_serial({rows, keys, s.head_dim, false, true, stride, stride, keys}, q, k, tile);
}

/// tile = scale tile, plus the bias on its last column if the tile ends the sample's keys.
void scale_and_bias(const AttentionShape& s, int64_t b, bool ends_keys, int64_t rows, int64_t keys,
                    float* tile) {
#pragma omp simd
  for (int64_t i = 0; i < rows * keys; ++i) tile[i] *= s.scale;
  if (s.last_key_bias && ends_keys)
    for (int64_t i = 0; i < rows; ++i) tile[i * keys + keys - 1] += s.last_key_bias[b];
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
    float largest[kQueryTile], sum[kQueryTile];
    std::fill(largest, largest + rows, -std::numeric_limits<float>::infinity());
    std::fill(sum, sum + rows, 0.0f);
    float* o = out + (b * s.queries + i0) * stride + h * D;
    for (int64_t j0 = 0; j0 < keys; j0 += kKeyTile) {
      const int64_t n = std::min(kKeyTile, keys - j0);
      const int64_t at = (first + j0) * stride + h * D;
      score_tile(s, rows, n, q + (b * s.queries + i0) * stride + h * D, k + at, tile.data());
      scale_and_bias(s, b, j0 + n == keys, rows, n, tile.data());
      for (int64_t i = 0; i < rows; ++i) {
        float* p = tile.data() + i * n;
        float top = largest[i];
#pragma omp simd reduction(max : top)
        for (int64_t j = 0; j < n; ++j) top = p[j] > top ? p[j] : top;
        float total = 0;
#pragma omp simd reduction(+ : total)
        for (int64_t j = 0; j < n; ++j) total += p[j] = fast_exp(p[j] - top);
        const float keep = j0 == 0 ? 0.0f : std::exp(largest[i] - top);
        sum[i] = sum[i] * keep + total;
        largest[i] = top;
        if (j0 > 0)
          for (int64_t d = 0; d < D; ++d) o[i * stride + d] *= keep;
      }
      matmul_serial({rows, D, n, false, false, n, stride, stride, j0 == 0 ? 0.0f : 1.0f}, tile.data(), v + at,
                    o);
    }
    for (int64_t i = 0; i < rows; ++i) {
      const float inverse = 1.0f / sum[i];
      for (int64_t d = 0; d < D; ++d) o[i * stride + d] *= inverse;
      if (log_sum_exp) log_sum_exp[(b * s.heads + h) * s.queries + i0 + i] = largest[i] + std::log(sum[i]);
    }
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
    for (int64_t i = 0; i < s.queries; ++i) {
      const int64_t at = (b * s.queries + i) * stride + h * D;
      float dot = 0;
#pragma omp simd reduction(+ : dot)
      for (int64_t d = 0; d < D; ++d) dot += out[at + d] * dout[at + d];
      delta[i] = dot;
    }
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
        for (int64_t i = 0; i < rows; ++i) {
          const float shift = lse[i0 + i], mean = delta[i0 + i];
          float* pi = p + i * n;
          float* di = ds + i * n;
#pragma omp simd
          for (int64_t j = 0; j < n; ++j) {
            pi[j] = fast_exp(pi[j] - shift);
            di[j] = pi[j] * (di[j] - mean) * s.scale;
          }
        }
        const float later_rows = i0 == 0 ? 0.0f : 1.0f, later_keys = j0 == 0 ? 0.0f : 1.0f;
        matmul_serial({n, D, rows, true, false, n, stride, stride, later_rows}, p, dout + at_q, dv + at_k);
        matmul_serial({n, D, rows, true, false, n, stride, stride, later_rows}, ds, q + at_q, dk + at_k);
        matmul_serial({rows, D, n, false, false, n, stride, stride, later_keys}, ds, k + at_k, dq + at_q);
      }
    }
  });
}

}  // namespace wandistill::cpu
