#include <cmath>

#include "wandistill/error.h"
#include "wandistill/ops/ddim_update.h"

namespace wandistill {

DdimCoefficients ddim_coefficients(const DdimStep& step) {
  WD_REQUIRE(step.noise_stream < uint64_t{1} << 63);
  const double alpha_t = step.from.alpha, sigma_t = step.from.sigma;
  const double alpha_s = step.to.alpha, sigma_s = step.to.sigma;
  const double ratio = alpha_t / alpha_s;
  const double sigma_eta =
      step.eta * (sigma_s / sigma_t) * std::sqrt(sigma_t * sigma_t - ratio * ratio * sigma_s * sigma_s);
  const double of_eps = std::sqrt(sigma_s * sigma_s - sigma_eta * sigma_eta);
  double x0_of_x = 0, x0_of_m = 0, eps_of_x = 0, eps_of_m = 0;
  switch (step.prediction) {
    case Prediction::kFlowVelocity:
      x0_of_x = eps_of_x = 1 / (alpha_t + sigma_t);
      x0_of_m = -sigma_t / (alpha_t + sigma_t);
      eps_of_m = alpha_t / (alpha_t + sigma_t);
      break;
    case Prediction::kEpsilon:
      x0_of_x = 1 / alpha_t;
      x0_of_m = -sigma_t / alpha_t;
      eps_of_m = 1;
      break;
    case Prediction::kSample:
      x0_of_m = 1;
      eps_of_x = 1 / sigma_t;
      eps_of_m = -alpha_t / sigma_t;
      break;
  }
  return {.keep = static_cast<float>(alpha_s * x0_of_x + of_eps * eps_of_x),
          .move = static_cast<float>(alpha_s * x0_of_m + of_eps * eps_of_m),
          .fresh = static_cast<float>(sigma_eta),
          .guidance = step.guidance,
          .noise_seed = step.noise_seed,
          .noise_stream = step.noise_stream};
}

}  // namespace wandistill
