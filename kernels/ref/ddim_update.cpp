#include "wandistill/ops/ddim_update.h"

#include <cmath>
#include <vector>

#include "wandistill/philox.h"

namespace wandistill::ref {

void ddim_update(int64_t n, const DdimStep& step, const float* cond, const float* uncond, float* x,
                 const Queue&) {
  const double alpha_t = step.from.alpha, sigma_t = step.from.sigma;
  const double alpha_s = step.to.alpha, sigma_s = step.to.sigma;
  const double ratio = alpha_t / alpha_s;
  const double sigma_eta =
      step.eta * (sigma_s / sigma_t) * std::sqrt(sigma_t * sigma_t - ratio * ratio * sigma_s * sigma_s);
  std::vector<float> noise(step.eta != 0 ? n : 0);
  fill_gaussian(step.noise_seed, step.noise_stream, 0, std::ssize(noise), noise.data());
  for (int64_t i = 0; i < n; ++i) {
    double m = cond[i];
    if (uncond != nullptr) m = uncond[i] + step.guidance * (m - uncond[i]);
    double x0 = 0, eps = 0;
    switch (step.prediction) {
      case Prediction::kFlowVelocity:
        x0 = (x[i] - sigma_t * m) / (alpha_t + sigma_t);
        eps = x0 + m;
        break;
      case Prediction::kEpsilon:
        x0 = (x[i] - sigma_t * m) / alpha_t;
        eps = m;
        break;
      case Prediction::kSample:
        x0 = m;
        eps = (x[i] - alpha_t * m) / sigma_t;
        break;
    }
    double next = alpha_s * x0 + std::sqrt(sigma_s * sigma_s - sigma_eta * sigma_eta) * eps;
    if (step.eta != 0) next += sigma_eta * noise[i];
    x[i] = static_cast<float>(next);
  }
}

}  // namespace wandistill::ref
