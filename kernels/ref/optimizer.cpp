#include "wandistill/ops/optimizer.h"

#include <algorithm>
#include <cmath>

namespace wandistill::ref {

void weighted_mse(int64_t batch, int64_t n, const float* prediction, const float* target, const float* weight,
                  double* squared_error, float* dprediction, const Queue&) {
  for (int64_t b = 0; b < batch; ++b) {
    squared_error[b] = 0;
    for (int64_t i = b * n; i < (b + 1) * n; ++i) {
      const double difference = double(prediction[i]) - target[i];
      squared_error[b] += difference * difference;
      if (dprediction) dprediction[i] = float(2 * double(weight[b]) * difference);
    }
  }
}

void squared_norm(int64_t n, const float* x, double* result, const Queue&) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += double(x[i]) * x[i];
  *result = sum;
}

void plan_update(const AdamWStep& step, const double* squared_norm, UpdateState* state, const Queue&) {
  UpdateState& s = *state;
  s.skip = !std::isfinite(*squared_norm);
  if (s.skip) {
    ++s.skipped;
    ++s.skipped_in_row;
    return;
  }
  s.skipped_in_row = 0;
  ++s.updates;
  const double updates = double(s.updates);
  s.correction1 = 1 - std::pow(double(step.beta1), updates);
  s.correction2 = 1 - std::pow(double(step.beta2), updates);
  s.gradient_scale =
      step.clip > 0 ? float(std::min(1.0, step.clip / (std::sqrt(*squared_norm) + 1e-6))) : 1.0f;
  s.ema_decay = float(std::min(double(step.ema_decay), (1 + updates) / (10 + updates)));
}

void adamw(const AdamWStep& s, const UpdateState* state, int64_t n, const float* gradient, float* weight,
           float* m, float* v, float* ema, float* rounded, const Queue&) {
  if (state->skip) return;
  for (int64_t i = 0; i < n; ++i) {
    const double g = double(gradient[i]) * state->gradient_scale;
    const double mi = double(s.beta1) * m[i] + (1 - double(s.beta1)) * g;
    const double vi = double(s.beta2) * v[i] + (1 - double(s.beta2)) * g * g;
    const double decayed = weight[i] * (1 - double(s.lr) * s.weight_decay);
    const double w =
        decayed - s.lr * (mi / state->correction1) / (std::sqrt(vi / state->correction2) + s.eps);
    m[i] = float(mi);
    v[i] = float(vi);
    weight[i] = float(w);
    if (ema) ema[i] = float(state->ema_decay * double(ema[i]) + (1 - double(state->ema_decay)) * w);
    if (rounded) rounded[i] = weight[i];
  }
}

}  // namespace wandistill::ref
