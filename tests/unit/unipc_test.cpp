#include "wandistill/unipc.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "wandistill/ops/ddim_update.h"
#include "wandistill/philox.h"

namespace wandistill {
namespace {

constexpr int kN = 7;

/// A "network" that both sides compute alike: v = x^2/4 - x/2 + 1/8.
void velocity_of(const float* x, float* v) {
  for (int i = 0; i < kN; ++i) v[i] = 0.25f * x[i] * x[i] - 0.5f * x[i] + 0.125f;
}

std::vector<float> sample(const SchedulerConfig& config, int64_t steps) {
  std::vector<float> x = {-1.5f, -0.75f, -0.25f, 0.0f, 0.5f, 1.0f, 2.0f}, v(kN);
  UniPC sampler(config, steps);
  for (int64_t i = 0; i < steps; ++i) {
    velocity_of(x.data(), v.data());
    sampler.step(i, v.data(), x.data(), kN, Queue{});
  }
  return x;
}

// diffusers 0.42.1 UniPCMultistepScheduler on data/tiny-wan's scheduler config (shift 3), torch 2.15 on the
// CPU.
struct Recorded {
  int64_t order, steps;
  std::vector<int64_t> disable_corrector;
  float x[kN];
};
const Recorded kRecorded[] = {
    {1,
     1,
     {},
     {-2.93749857f, -1.39062428f, -0.515624762f, -0.124999873f, 0.56249994f, 1.12499988f, 1.87500012f}},
    {1,
     2,
     {},
     {-3.29822922f, -1.50041866f, -0.547546208f, -0.136889488f, 0.56538105f, 1.12481725f, 1.88652444f}},
    {1,
     3,
     {},
     {-3.5726316f, -1.57437074f, -0.567274868f, -0.143909678f, 0.566910088f, 1.12460232f, 1.89150727f}},
    {1,
     10,
     {},
     {-4.44123507f, -1.7595613f, -0.610270023f, -0.158226356f, 0.569622338f, 1.12401283f, 1.89873743f}},
    {2,
     1,
     {},
     {-2.93749857f, -1.39062428f, -0.515624762f, -0.124999873f, 0.56249994f, 1.12499988f, 1.87500012f}},
    {2,
     2,
     {},
     {-3.29822922f, -1.50041866f, -0.547546208f, -0.136889488f, 0.56538105f, 1.12481725f, 1.88652444f}},
    {2,
     3,
     {},
     {-3.58032274f, -1.57632554f, -0.567776322f, -0.144084886f, 0.566947401f, 1.12460113f, 1.89160061f}},
    {2,
     10,
     {},
     {-4.6917305f, -1.80347788f, -0.619440258f, -0.161141217f, 0.570132434f, 1.12391698f, 1.89986026f}},
    {3,
     3,
     {},
     {-3.58032274f, -1.57632554f, -0.567776322f, -0.144084886f, 0.566947401f, 1.12460113f, 1.89160061f}},
    {3,
     10,
     {},
     {-4.7252202f, -1.80759931f, -0.620101869f, -0.161322698f, 0.57015413f, 1.12390864f, 1.89987803f}},
    {2,
     10,
     {0, 3, 4},
     {-4.67569542f, -1.80090249f, -0.618922412f, -0.1609786f, 0.570103645f, 1.12391925f, 1.89980519f}},
    {1,
     10,
     {0, 1, 2, 3, 4, 5, 6, 7, 8, 9},
     {-4.31808186f, -1.73656416f, -0.605288923f, -0.156613812f, 0.569326639f, 1.12405133f, 1.89807737f}},
};

TEST_CASE("unipc: what diffusers computes, for orders, steps and disabled correctors") {
  double worst = 0;
  for (const Recorded& r : kRecorded) {
    CAPTURE(r.order);
    CAPTURE(r.steps);
    SchedulerConfig config;
    config.flow_shift = 3;
    config.solver_order = r.order;
    config.disable_corrector = r.disable_corrector;
    const std::vector<float> x = sample(config, r.steps);
    for (int i = 0; i < kN; ++i) {
      REQUIRE(std::isfinite(x[i]));
      worst = std::max(worst, std::abs(double{x[i]} - r.x[i]) / std::max(1.0, std::abs(double{r.x[i]})));
    }
  }
  CHECK(worst < 2e-6);  // 2.8e-7 measured
}

TEST_CASE("unipc: order 1 without a corrector is DDIM on the same sigmas") {
  for (const int64_t steps : {1, 5, 7, 25}) {
    SchedulerConfig config;
    config.flow_shift = 5;
    config.solver_order = 1;
    for (int64_t i = 0; i < steps; ++i) config.disable_corrector.push_back(i);
    const std::vector<float> unipc = sample(config, steps);
    std::vector<float> x = {-1.5f, -0.75f, -0.25f, 0.0f, 0.5f, 1.0f, 2.0f}, v(kN);
    const auto points = flow_schedule(steps, 5);
    for (int64_t i = 0; i < steps; ++i) {
      velocity_of(x.data(), v.data());
      const DdimCoefficients step = ddim_coefficients({.from = points[i], .to = points[i + 1]});
      cpu::ddim_update(kN, &step, false, v.data(), nullptr, x.data(), Queue{});
    }
    for (int i = 0; i < kN; ++i) CHECK(std::abs(x[i] - unipc[i]) < 2e-6 * std::max(1.0f, std::abs(x[i])));
  }
}

TEST_CASE("unipc: timesteps are integers, the first one 999") {
  const UniPC sampler(SchedulerConfig{}, 10);
  CHECK(sampler.timestep(0) == 999);
  CHECK(sampler.steps() == 10);
  CHECK(sampler.sigmas().size() == 11);
}

TEST_CASE("unipc_update: the fast one agrees with its twin, and with itself on any number of threads") {
  for (const int64_t n : {1, 5, 7, 77, 129, 9001}) {
    for (int history = 0; history <= UnipcStep::kMaxHistory; ++history) {
      for (const bool correct : {false, true}) {
        std::vector<float> in(static_cast<size_t>(n) * 6);
        fill_gaussian(1, static_cast<uint64_t>(n), 0, n * 6, in.data());
        const float* h[3] = {&in[0], &in[n], &in[2 * n]};
        UnipcStep step;
        step.sigma = 0.7f;
        step.history = history;
        step.correct = correct;
        step.corrector = {0.3f, 1.25f, {-0.5f, 0.125f, 0.75f}};
        step.predictor = {0.9f, -1.5f, {0.25f, 0.6f, -0.35f}};
        const auto run = [&](UnipcUpdate* update, int threads) {
          std::vector<float> out(in.begin() + 4 * n, in.end());  // last, x
          out.resize(static_cast<size_t>(3 * n), -7.0f);         // x0
          update(n, step, &in[3 * n], h, &out[2 * n], &out[0], &out[n], Queue{threads});
          return out;
        };
        const auto exact = run(ref::unipc_update, 1), fast = run(cpu::unipc_update, 1);
        bool finite = true;
        float error = 0;
        for (size_t i = 0; i < exact.size(); ++i) {
          finite = finite && std::isfinite(fast[i]);
          error = std::max(error, std::abs(fast[i] - exact[i]));
        }
        REQUIRE(finite);
        CHECK(error < 4e-6);
        CHECK(fast == run(cpu::unipc_update, 3));
      }
    }
  }
}

}  // namespace
}  // namespace wandistill
