#include "wandistill/philox.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <vector>

namespace wandistill {
namespace {

double normal_cdf(double z) {
  return 0.5 * std::erfc(-z / std::sqrt(2.0));
}

TEST_CASE("philox: the published known answers of Random123") {
  const std::array<uint32_t, 4> zeros = {0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u};
  const std::array<uint32_t, 4> ones = {0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu};
  const std::array<uint32_t, 4> pi = {0xd16cfe09u, 0x94fdccebu, 0x5001e420u, 0x24126ea1u};
  CHECK(philox4x32({0, 0, 0, 0}, {0, 0}) == zeros);
  CHECK(philox4x32({~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}) == ones);
  CHECK(philox4x32({0x243f6a88u, 0x85a308d3u, 0x13198a2eu, 0x03707344u}, {0xa4093822u, 0x299f31d0u}) == pi);
}

TEST_CASE("philox: numbers do not depend on how calls slice them") {
  std::vector<float> whole(129), again(129);
  for (auto* fill : {&fill_gaussian, &fill_uniform}) {
    fill(3, 7, 0, 129, whole.data());
    for (const int64_t step : {1, 5, 7, 77, 129}) {
      std::fill(again.begin(), again.end(), -9.0f);
      for (int64_t at = 0; at < 129; at += step) {
        fill(3, 7, at, std::min<int64_t>(step, 129 - at), again.data() + at);
      }
      CHECK(again == whole);
    }
  }
}

TEST_CASE("philox: seed, stream and element all matter, in their high bits too") {
  std::set<float> seen;
  for (const uint64_t seed : {0ull, 1ull, 1ull << 32}) {
    for (const uint64_t stream : {0ull, 1ull, 1ull << 32}) {
      for (const int64_t first : {int64_t{0}, int64_t{4}, int64_t{1} << 36}) {
        float z;
        fill_gaussian(seed, stream, first, 1, &z);
        seen.insert(z);
      }
    }
  }
  CHECK(seen.size() == 27);
}

// Against Box-Muller in float64 from the same 32-bit uniforms; the extremes of r are met by the tail test
// below.
TEST_CASE("philox: the float32 transform is the exact one to 4e-7") {
  const int64_t n = 1 << 20;
  std::vector<float> z(n);
  fill_gaussian(11, 5, 0, n, z.data());
  double worst = 0;
  bool finite = true;
  for (int64_t i = 0; i < n; i += 2) {
    const auto r = philox4x32({static_cast<uint32_t>(i / 4), 0, 5, 0}, {11, 0});
    const double u = (r[i % 4] + 0.5) * 0x1p-32, turn = (r[i % 4 + 1] + 0.5) * 0x1p-32;
    const double radius = std::sqrt(-2 * std::log(u)), angle = 2 * M_PI * turn;
    const double expected[2] = {radius * std::cos(angle), radius * std::sin(angle)};
    for (int k = 0; k < 2; ++k) {
      finite = finite && std::isfinite(z[i + k]);
      worst = std::max(worst, std::abs(z[i + k] - expected[k]) / std::max(1.0, std::abs(expected[k])));
    }
  }
  REQUIRE(finite);
  CHECK(worst < 4e-7);  // 2.4e-7 measured
}

TEST_CASE("philox: the same bits on every device") {
  // First bits of (seed 1234, stream 42); any backend must give these.
  std::vector<float> z(8);
  fill_gaussian(1234, 42, 0, 8, z.data());
  const float expected[8] = {-0x1.ee5f6cp-1f, 0x1.2e801cp+0f,  -0x1.16caeap+1f, 0x1.05930ep-2f,
                             -0x1.14b8fap+0f, -0x1.9be24ap-2f, -0x1.65f3dap+0f, -0x1.10f2a4p-1f};
  for (int i = 0; i < 8; ++i) CHECK(z[i] == expected[i]);
}

TEST_CASE("philox: moments, distribution and tails of the Gaussian") {
  const int64_t n = 4'000'000;
  std::vector<float> z(n);
  fill_gaussian(2026, 0, 0, n, z.data());
  double sum = 0, square = 0, cube = 0, fourth = 0, neighbours = 0;
  int64_t beyond4 = 0;
  bool finite = true;
  for (int64_t i = 0; i < n; ++i) {
    const double v = z[i];
    finite = finite && std::isfinite(v);
    sum += v;
    square += v * v;
    cube += v * v * v;
    fourth += v * v * v * v;
    if (i > 0) neighbours += v * z[i - 1];
    beyond4 += std::abs(v) > 4;
  }
  REQUIRE(finite);
  // Four standard errors of each estimate.
  const double root = std::sqrt(static_cast<double>(n));
  CHECK(std::abs(sum / n) < 4 / root);
  CHECK(std::abs(square / n - 1) < 4 * std::sqrt(2.0) / root);
  CHECK(std::abs(cube / n) < 4 * std::sqrt(15.0) / root);
  CHECK(std::abs(fourth / n - 3) < 4 * std::sqrt(96.0) / root);
  CHECK(std::abs(neighbours / n) < 4 / root);
  const double expected4 = 2 * normal_cdf(-4) * n;
  CHECK(std::abs(beyond4 - expected4) < 4 * std::sqrt(expected4));
  std::sort(z.begin(), z.end());
  CHECK(z.back() > 4.5f);
  CHECK(z.front() < -4.5f);
  double distance = 0;  // Kolmogorov-Smirnov
  for (int64_t i = 0; i < n; ++i) {
    const double cdf = normal_cdf(z[i]);
    distance = std::max({distance, cdf - static_cast<double>(i) / n, static_cast<double>(i + 1) / n - cdf});
  }
  CHECK(distance * root < 1.95);  // exceeded by chance in 1 of 1000 seeds
}

TEST_CASE("philox: uniform numbers lie strictly inside (0, 1) and are even") {
  const int64_t n = 1'000'000;
  std::vector<float> u(n);
  fill_uniform(8, 1, 0, n, u.data());
  double sum = 0;
  bool inside = true;
  for (const float v : u) {
    inside = inside && v > 0 && v < 1;
    sum += v;
  }
  CHECK(inside);
  CHECK(std::abs(sum / n - 0.5) < 4 / std::sqrt(12.0 * n));
}

TEST_CASE("philox: Rng goes on from its stored state") {
  Rng rng(5, 9);
  for (int i = 0; i < 10; ++i) rng.next();
  Rng restored(rng.seed(), rng.stream(), rng.position());
  for (int i = 0; i < 10; ++i) CHECK(restored.next() == rng.next());
  CHECK(Rng(5, 9).next() != Rng(5, 8).next());
  CHECK(Rng(5, 9).next() != Rng(6, 9).next());
  std::vector<int> counts(7);
  for (int i = 0; i < 70000; ++i) ++counts[rng.below(7)];
  for (const int c : counts) CHECK(std::abs(c - 10000) < 400);
  for (int i = 0; i < 1000; ++i) {
    const double u = rng.uniform();
    CHECK((u > 0 && u < 1));
  }
}

TEST_CASE("philox: a permutation holds every item once and changes with epoch and seed") {
  for (const int64_t n : {0, 1, 5, 7, 77, 129}) {
    auto order = permutation(1, 2, n);
    CHECK(order == permutation(1, 2, n));
    if (n > 4) CHECK(order != permutation(1, 3, n));
    if (n > 4) CHECK(order != permutation(2, 2, n));
    std::sort(order.begin(), order.end());
    for (int64_t i = 0; i < n; ++i) CHECK(order[i] == i);
  }
  std::vector<int> first(5);
  for (int epoch = 0; epoch < 5000; ++epoch) ++first[permutation(3, epoch, 5)[0]];
  for (const int c : first) CHECK(std::abs(c - 1000) < 120);
}

}  // namespace
}  // namespace wandistill
