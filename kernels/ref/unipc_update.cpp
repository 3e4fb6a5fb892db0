#include "wandistill/ops/unipc_update.h"

namespace wandistill::ref {
namespace {

double combine(const UnipcStep::Combination& c, double state, double x0, const float* const* history,
               int count, int64_t i) {
  double sum = c.state * state + c.x0 * x0;
  for (int k = 0; k < count; ++k) sum += static_cast<double>(c.history[k]) * history[k][i];
  return sum;
}

}  // namespace

void unipc_update(int64_t n, const UnipcStep& step, const float* velocity, const float* const* history,
                  float* x0, float* last, float* x, const Queue&) {
  for (int64_t i = 0; i < n; ++i) {
    const double prediction = x[i] - static_cast<double>(step.sigma) * velocity[i];
    double y = x[i];
    if (step.correct) y = combine(step.corrector, last[i], prediction, history, step.history, i);
    x[i] = static_cast<float>(combine(step.predictor, y, prediction, history, step.history, i));
    x0[i] = static_cast<float>(prediction);
    last[i] = static_cast<float>(y);
  }
}

}  // namespace wandistill::ref
