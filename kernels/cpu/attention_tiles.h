// Tiles of scores, between the two products of flash attention: shared by the products' number types.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "kernels/cpu/fast_exp.h"
#include "wandistill/ops/attention.h"

namespace wandistill::cpu {

constexpr int64_t kMostQueries = 96, kKeyTile = 256;  // of a tile

/// tile = scale tile, plus the bias on its last column if the tile ends the sample's keys.
inline void scale_and_bias(const AttentionShape& s, int64_t b, bool ends_keys, int64_t rows, int64_t keys,
                           float* tile) {
#pragma omp simd
  for (int64_t i = 0; i < rows * keys; ++i) tile[i] *= s.scale;
  if (s.last_key_bias && ends_keys)
    for (int64_t i = 0; i < rows; ++i) tile[i * keys + keys - 1] += s.last_key_bias[b];
}

/// The softmax of some queries, whose keys come tile by tile.
class TileSoftmax {
 public:
  explicit TileSoftmax(int64_t rows) : rows_(rows) {
    std::fill(largest_, largest_ + rows, -std::numeric_limits<float>::infinity());
    std::fill(sum_, sum_ + rows, 0.0f);
  }

  /// The tile's scores [rows, keys] become exp(score - the largest so far), and the rows [D] of o, `stride`
  /// apart, are brought to the new largest; those of the first tile are not read.
  void add(bool first, int64_t keys, float* tile, int64_t D, int64_t stride, float* o) {
    for (int64_t i = 0; i < rows_; ++i) {
      float* p = tile + i * keys;
      float top = largest_[i];
#pragma omp simd reduction(max : top)
      for (int64_t j = 0; j < keys; ++j) top = p[j] > top ? p[j] : top;
      float total = 0;
#pragma omp simd reduction(+ : total)
      for (int64_t j = 0; j < keys; ++j) total += p[j] = fast_exp(p[j] - top);
      const float keep = first ? 0.0f : std::exp(largest_[i] - top);
      sum_[i] = sum_[i] * keep + total;
      largest_[i] = top;
      if (!first)
        for (int64_t d = 0; d < D; ++d) o[i * stride + d] *= keep;
    }
  }

  /// After the last tile. log_sum_exp [rows], or null.
  void finish(int64_t D, int64_t stride, float* o, float* log_sum_exp) const {
    for (int64_t i = 0; i < rows_; ++i) {
      const float inverse = 1.0f / sum_[i];
      for (int64_t d = 0; d < D; ++d) o[i * stride + d] *= inverse;
      if (log_sum_exp) log_sum_exp[i] = largest_[i] + std::log(sum_[i]);
    }
  }

 private:
  int64_t rows_;
  float largest_[kMostQueries], sum_[kMostQueries];
};

/// delta [queries] of one head: the dot products of the rows of out and dout, `stride` apart.
inline void output_dots(int64_t queries, int64_t D, int64_t stride, const float* out, const float* dout,
                        float* delta) {
  for (int64_t i = 0; i < queries; ++i) {
    const int64_t at = i * stride;
    float dot = 0;
#pragma omp simd reduction(+ : dot)
    for (int64_t d = 0; d < D; ++d) dot += out[at + d] * dout[at + d];
    delta[i] = dot;
  }
}

/// From scores p and dp = dout v^T [rows, keys]: p becomes the softmax, dp the gradient of the unscaled
/// scores.
inline void score_gradients(float scale, int64_t rows, int64_t keys, const float* log_sum_exp,
                            const float* delta, float* p, float* dp) {
  for (int64_t i = 0; i < rows; ++i) {
    const float shift = log_sum_exp[i], mean = delta[i];
    float* pi = p + i * keys;
    float* di = dp + i * keys;
#pragma omp simd
    for (int64_t j = 0; j < keys; ++j) {
      pi[j] = fast_exp(pi[j] - shift);
      di[j] = pi[j] * (di[j] - mean) * scale;
    }
  }
}

}  // namespace wandistill::cpu
