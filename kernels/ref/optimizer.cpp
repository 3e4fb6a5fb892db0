#include "wandistill/ops/optimizer.h"

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

double squared_norm(int64_t n, const float* x, const Queue&) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += double(x[i]) * x[i];
  return sum;
}

void adamw(const AdamWStep& s, int64_t n, const float* gradient, float* weight, float* m, float* v,
           float* ema, const Queue&) {
  const double correction1 = 1 - std::pow(double(s.beta1), double(s.step));
  const double correction2 = 1 - std::pow(double(s.beta2), double(s.step));
  for (int64_t i = 0; i < n; ++i) {
    const double g = double(gradient[i]) * s.gradient_scale;
    const double mi = double(s.beta1) * m[i] + (1 - double(s.beta1)) * g;
    const double vi = double(s.beta2) * v[i] + (1 - double(s.beta2)) * g * g;
    const double decayed = weight[i] * (1 - double(s.lr) * s.weight_decay);
    const double w = decayed - s.lr * (mi / correction1) / (std::sqrt(vi / correction2) + s.eps);
    m[i] = float(mi);
    v[i] = float(vi);
    weight[i] = float(w);
    if (ema) ema[i] = float(s.ema_decay * double(ema[i]) + (1 - double(s.ema_decay)) * w);
  }
}

}  // namespace wandistill::ref
