// As attention.cpp: tiles of kQueryTile x kKeyTile scores with a running maximum; one (head, query tile) is
// one piece of work.
#include "wandistill/ops/attention_biased.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/cpu/fast_exp.h"
#include "kernels/cpu/parallel.h"
#include "wandistill/buffer.h"
#include "wandistill/ops/matmul.h"

namespace wandistill::cpu {
namespace {

constexpr int64_t kQueryTile = 48, kKeyTile = 256;

}  // namespace

void attention_biased_forward(const AttentionBiasedShape& s, const float* q, const float* k, const float* v,
                              const float* relative_bias, float* out, const Queue& queue) {
  const int64_t D = s.head_dim, stride = s.heads * D, distances = s.queries + s.keys - 1;
  const int64_t tiles = (s.queries + kQueryTile - 1) / kQueryTile;
  parallel_for(queue, s.heads * tiles, [&](int64_t work) {
    const int64_t head = work / tiles, i0 = work % tiles * kQueryTile;
    const int64_t rows = std::min(kQueryTile, s.queries - i0);
    Buffer<float> tile(rows * std::min(kKeyTile, s.keys));
    float largest[kQueryTile], sum[kQueryTile];
    std::fill(largest, largest + rows, -std::numeric_limits<float>::infinity());
    std::fill(sum, sum + rows, 0.0f);
    float* o = out + i0 * stride + head * D;
    for (int64_t j0 = 0; j0 < s.keys; j0 += kKeyTile) {
      const int64_t n = std::min(kKeyTile, s.keys - j0), at = j0 * stride + head * D;
      matmul_serial({rows, n, D, false, true, stride, stride, n}, q + i0 * stride + head * D, k + at,
                    tile.data());
      for (int64_t i = 0; i < rows; ++i) {
        float* p = tile.data() + i * n;
        const float* bias = relative_bias + head * distances + j0 - (i0 + i) + s.queries - 1;
        float top = largest[i];
#pragma omp simd reduction(max : top)
        for (int64_t j = 0; j < n; ++j) {
          p[j] = p[j] * s.scale + bias[j];
          top = p[j] > top ? p[j] : top;
        }
        float total = 0;
#pragma omp simd reduction(+ : total)
        for (int64_t j = 0; j < n; ++j) total += p[j] = fast_exp(p[j] - top);
        const float keep = std::exp(largest[i] - top);  // 0 in the first tile
        sum[i] = sum[i] * keep + total;
        largest[i] = top;
        if (j0 > 0) {
          for (int64_t d = 0; d < D; ++d) o[i * stride + d] *= keep;
        }
      }
      matmul_serial({rows, D, n, false, false, n, stride, stride, j0 == 0 ? 0.0f : 1.0f}, tile.data(), v + at,
                    o);
    }
    for (int64_t i = 0; i < rows; ++i) {
      const float inverse = 1.0f / sum[i];
      for (int64_t d = 0; d < D; ++d) o[i * stride + d] *= inverse;
    }
  });
}

}  // namespace wandistill::cpu
