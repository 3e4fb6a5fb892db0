#include "wandistill/ops/ddim_update.h"

#include <doctest/doctest.h>

#include <cmath>
#include <vector>

#include "wandistill/philox.h"

namespace wandistill {
namespace {

std::vector<float> normal(uint64_t stream, int64_t n) {
  std::vector<float> z(static_cast<size_t>(n));
  fill_gaussian(99, stream, 0, n, z.data());
  return z;
}

/// The step in the terms of its definition.
double exact_step(const DdimStep& step, double x, double cond, double uncond, double noise) {
  const double alpha_t = step.from.alpha, sigma_t = step.from.sigma;
  const double alpha_s = step.to.alpha, sigma_s = step.to.sigma;
  const double ratio = alpha_t / alpha_s;
  const double sigma_eta =
      step.eta * (sigma_s / sigma_t) * std::sqrt(sigma_t * sigma_t - ratio * ratio * sigma_s * sigma_s);
  const double m = uncond + step.guidance * (cond - uncond);
  double x0 = 0, eps = 0;
  switch (step.prediction) {
    case Prediction::kFlowVelocity:
      x0 = (x - sigma_t * m) / (alpha_t + sigma_t);
      eps = x0 + m;
      break;
    case Prediction::kEpsilon:
      x0 = (x - sigma_t * m) / alpha_t;
      eps = m;
      break;
    case Prediction::kSample:
      x0 = m;
      eps = (x - alpha_t * m) / sigma_t;
      break;
  }
  return alpha_s * x0 + std::sqrt(sigma_s * sigma_s - sigma_eta * sigma_eta) * eps + sigma_eta * noise;
}

TEST_CASE("ddim_update: the fast one and its twin do what the definition says") {
  const SchedulePoint flow[2] = {{0.25f, 0.75f, 750}, {0.5f, 0.5f, 500}};
  const SchedulePoint linear[2] = {{0.6f, 0.8f, 640}, {0.8f, 0.6f, 360}};
  for (const int64_t n : {1, 5, 7, 77, 129, 40001}) {
    const auto cond = normal(1, n), uncond = normal(2, n), noise = normal(3, n), start = normal(4, n);
    for (const auto* points : {flow, linear}) {
      for (const Prediction p : {Prediction::kFlowVelocity, Prediction::kEpsilon, Prediction::kSample}) {
        for (const float guidance : {1.0f, 4.0f}) {
          for (const float eta : {0.0f, 0.5f, 1.0f}) {
            const DdimStep step = {points[0], points[1], p, guidance, eta, 99, 3};
            const DdimCoefficients coefficients = ddim_coefficients(step);
            const auto run = [&](DdimUpdate* update, const float* u, int threads) {
              std::vector<float> x = start;
              update(n, &coefficients, eta != 0, cond.data(), u, x.data(), Queue{threads});
              return x;
            };
            for (const float* u : {static_cast<const float*>(nullptr), uncond.data()}) {
              const auto plain = run(ref::ddim_update, u, 1), fast = run(cpu::ddim_update, u, 1);
              bool finite = true;
              double error = 0;
              for (size_t i = 0; i < size_t(n); ++i) {
                finite = finite && std::isfinite(fast[i]) && std::isfinite(plain[i]);
                const double exact = exact_step(step, start[i], cond[i], u ? u[i] : cond[i], noise[i]);
                for (const double found : {plain[i], fast[i]})
                  error = std::max(error, std::abs(found - exact) / std::max(1.0, std::abs(exact)));
              }
              REQUIRE(finite);
              CHECK(error < 4e-6);
              CHECK(fast == run(cpu::ddim_update, u, 3));
            }
          }
        }
      }
    }
  }
}

// If the network says exactly what x consists of, one step lands exactly on the next point of the same path.
TEST_CASE("ddim_update: a perfect prediction stays on the straight path") {
  const int64_t n = 129;
  const auto x0 = normal(5, n), eps = normal(6, n);
  for (const bool flow : {true, false}) {
    const auto points = flow ? flow_schedule(10, 3) : linear_schedule(10);
    for (const Prediction p : {Prediction::kFlowVelocity, Prediction::kEpsilon, Prediction::kSample}) {
      // From the second point: with alpha near 0 epsilon does not determine x0.
      for (size_t i = 1; i + 1 < points.size(); ++i) {
        std::vector<float> x(n), m(n);
        for (int64_t k = 0; k < n; ++k) {
          x[k] = points[i].alpha * x0[k] + points[i].sigma * eps[k];
          m[k] = p == Prediction::kFlowVelocity ? eps[k] - x0[k] : p == Prediction::kEpsilon ? eps[k] : x0[k];
        }
        const DdimCoefficients step = ddim_coefficients({points[i], points[i + 1], p});
        cpu::ddim_update(n, &step, false, m.data(), nullptr, x.data(), Queue{});
        for (int64_t k = 0; k < n; ++k) {
          CHECK(std::abs(x[k] - (points[i + 1].alpha * x0[k] + points[i + 1].sigma * eps[k])) < 3e-5);
        }
      }
    }
  }
}

// eta changes how much of the noise is fresh, not how much there is.
TEST_CASE("ddim_update: eta keeps the noise level") {
  const int64_t n = 200000;
  const auto eps = normal(7, n);
  const auto points = linear_schedule(10);
  for (const float eta : {0.5f, 1.0f}) {
    std::vector<float> x(n), m(n);
    for (int64_t k = 0; k < n; ++k) x[k] = points[4].sigma * eps[k];  // x0 = 0
    const DdimCoefficients c = ddim_coefficients({points[4], points[5], Prediction::kEpsilon, 1, eta, 99, 8});
    cpu::ddim_update(n, &c, true, eps.data(), nullptr, x.data(), Queue{});
    const auto fresh = normal(8, n);
    bool numbered = true;  // element i got number i
    double square = 0, with_old = 0;
    for (int64_t k = 0; k < n; ++k) {
      square += double{x[k]} * x[k];
      with_old += double{x[k]} * eps[k];
      const float old = std::fma(c.keep, points[4].sigma * eps[k], c.move * eps[k]);
      numbered = numbered && x[k] == std::fma(c.fresh, fresh[k], old);
    }
    CHECK(numbered);
    CHECK(std::sqrt(square / n) == doctest::Approx(points[5].sigma).epsilon(0.01));
    CHECK(with_old / n < 0.97 * points[5].sigma);
  }
}

}  // namespace
}  // namespace wandistill
