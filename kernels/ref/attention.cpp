#include "wandistill/ops/attention.h"

#include <cmath>
#include <vector>

namespace wandistill::ref {
namespace {

/// The biased scores of query i of sample b, head h.
std::vector<double> scores(const AttentionShape& s, int64_t b, int64_t h, int64_t i, const float* q,
                           const float* k) {
  const int64_t first = s.key_offsets[b], keys = s.key_offsets[b + 1] - first;
  std::vector<double> score(keys);
  for (int64_t j = 0; j < keys; ++j) {
    double dot = 0;
    for (int64_t d = 0; d < s.head_dim; ++d)
      dot += double(q[((b * s.queries + i) * s.heads + h) * s.head_dim + d]) *
             k[((first + j) * s.heads + h) * s.head_dim + d];
    score[j] = dot * s.scale + (s.last_key_bias && j == keys - 1 ? s.last_key_bias[b] : 0);
  }
  return score;
}

}  // namespace

void attention_forward(const AttentionShape& s, const float* q, const float* k, const float* v, float* out,
                       float* log_sum_exp, const Queue&) {
  for (int64_t b = 0; b < s.batch; ++b)
    for (int64_t h = 0; h < s.heads; ++h)
      for (int64_t i = 0; i < s.queries; ++i) {
        const std::vector<double> score = scores(s, b, h, i, q, k);
        double largest = score[0], sum = 0;
        for (double x : score) largest = std::fmax(largest, x);
        for (double x : score) sum += std::exp(x - largest);
        if (log_sum_exp) log_sum_exp[(b * s.heads + h) * s.queries + i] = float(largest + std::log(sum));
        for (int64_t d = 0; d < s.head_dim; ++d) {
          double o = 0;
          for (size_t j = 0; j < score.size(); ++j)
            o += std::exp(score[j] - largest) / sum *
                 v[((s.key_offsets[b] + int64_t(j)) * s.heads + h) * s.head_dim + d];
          out[((b * s.queries + i) * s.heads + h) * s.head_dim + d] = float(o);
        }
      }
}

void attention_backward(const AttentionShape& s, const float* q, const float* k, const float* v, const float*,
                        const float*, const float* dout, float* dq, float* dk, float* dv, const Queue&) {
  const int64_t D = s.head_dim;
  for (int64_t b = 0; b < s.batch; ++b)
    for (int64_t h = 0; h < s.heads; ++h) {
      const int64_t first = s.key_offsets[b], keys = s.key_offsets[b + 1] - first;
      std::vector<double> sum_dk(keys * D, 0.0), sum_dv(keys * D, 0.0);
      for (int64_t i = 0; i < s.queries; ++i) {
        const int64_t at_q = ((b * s.queries + i) * s.heads + h) * D;
        std::vector<double> p = scores(s, b, h, i, q, k), dp(keys);
        double largest = p[0], sum = 0, mean_dp = 0;
        for (double x : p) largest = std::fmax(largest, x);
        for (double& x : p) sum += x = std::exp(x - largest);
        for (int64_t j = 0; j < keys; ++j) {
          p[j] /= sum;
          dp[j] = 0;
          for (int64_t d = 0; d < D; ++d)
            dp[j] += double(dout[at_q + d]) * v[((first + j) * s.heads + h) * D + d];
          mean_dp += p[j] * dp[j];
        }
        for (int64_t d = 0; d < D; ++d) {
          double sum_dq = 0;
          for (int64_t j = 0; j < keys; ++j) {
            const double ds = p[j] * (dp[j] - mean_dp) * s.scale;
            sum_dq += ds * k[((first + j) * s.heads + h) * D + d];
            sum_dk[j * D + d] += ds * q[at_q + d];
            sum_dv[j * D + d] += p[j] * dout[at_q + d];
          }
          dq[at_q + d] = float(sum_dq);
        }
      }
      for (int64_t j = 0; j < keys; ++j)
        for (int64_t d = 0; d < D; ++d) {
          dk[((first + j) * s.heads + h) * D + d] = float(sum_dk[j * D + d]);
          dv[((first + j) * s.heads + h) * D + d] = float(sum_dv[j * D + d]);
        }
    }
}

}  // namespace wandistill::ref
