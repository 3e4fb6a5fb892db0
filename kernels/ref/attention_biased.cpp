#include "wandistill/ops/attention_biased.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

namespace wandistill::ref {

void attention_biased_forward(const AttentionBiasedShape& shape, const float* q, const float* k,
                              const float* v, const float* relative_bias, float* out, const Queue&) {
  const int64_t H = shape.heads, D = shape.head_dim;
  std::vector<double> score(shape.keys);
  for (int64_t head = 0; head < H; ++head) {
    for (int64_t i = 0; i < shape.queries; ++i) {
      const float* query = q + (i * H + head) * D;
      double top = -std::numeric_limits<double>::infinity();
      for (int64_t j = 0; j < shape.keys; ++j) {
        double dot = 0;
        for (int64_t d = 0; d < D; ++d) dot += double{query[d]} * k[(j * H + head) * D + d];
        const int64_t distance = j - i + shape.queries - 1;
        score[j] = dot * shape.scale + relative_bias[head * (shape.queries + shape.keys - 1) + distance];
        top = std::max(top, score[j]);
      }
      double total = 0;
      for (double& s : score) total += s = std::exp(s - top);
      for (int64_t d = 0; d < D; ++d) {
        double sum = 0;
        for (int64_t j = 0; j < shape.keys; ++j) sum += score[j] * v[(j * H + head) * D + d];
        out[(i * H + head) * D + d] = static_cast<float>(sum / total);
      }
    }
  }
}

}  // namespace wandistill::ref
