// How an op is tested: the fast kernel against its twin, guard words behind every output, the same bits for
// any number of threads.
#pragma once

#include <doctest/doctest.h>

#include <cmath>
#include <random>
#include <vector>

#include "wandistill/queue.h"

namespace wandistill::op_test {

inline const Queue kOne{1}, kTwo{2}, kSeven{7};
constexpr float kGuard = 12345.0f;  // stands behind every output

inline std::vector<float> normal(int64_t n, uint32_t seed) {
  std::mt19937 engine(seed);
  std::normal_distribution<float> gauss;
  std::vector<float> x(size_t(n), 0.0f);
  for (float& v : x) v = gauss(engine);
  return x;
}

inline std::vector<float> nans(int64_t n) {
  return std::vector<float>(size_t(n), NAN);
}

/// Runs `fast` with 1, 2 and 7 threads and `twin` once, each on its own copy of `start` (an output, or an
/// operand that is overwritten), and compares.
template <class Fast, class Twin>
void compare(const std::vector<float>& start, double bound, Fast fast, Twin twin) {
  std::vector<float> expected = start, found = start;
  for (std::vector<float>* v : {&expected, &found}) v->push_back(kGuard);
  const std::vector<float> fresh = found;
  twin(expected.data());
  fast(found.data(), kOne);
  double error = 0, norm = 0;  // a NaN in either makes the error NaN
  for (size_t i = 0; i < start.size(); ++i) {
    error += std::pow(double{found[i]} - expected[i], 2);
    norm += std::pow(double{expected[i]}, 2);
  }
  REQUIRE(std::isfinite(error));
  CHECK(std::sqrt(error) <= bound * std::sqrt(norm));
  CHECK(found.back() == kGuard);
  for (const Queue& queue : {kTwo, kSeven}) {
    std::vector<float> again = fresh;
    fast(again.data(), queue);
    CHECK(again == found);
  }
}

}  // namespace wandistill::op_test
