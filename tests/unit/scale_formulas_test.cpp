#include "bench/scale_formulas.h"

#include <doctest/doctest.h>

namespace wandistill::bench {
namespace {

using doctest::Approx;

constexpr Link kLatency{2e-6, 0}, kBytes{0, 1e-9};

TEST_CASE("scale model: all-reduce by ring and by tree") {
  for (const Algorithm algorithm : {Algorithm::kRing, Algorithm::kTree}) {
    CHECK(all_reduce_seconds(algorithm, 1, 1e6, {1, 1}) == 0);
    CHECK(all_reduce_seconds(algorithm, 2, 1e6, {2e-6, 1e-9}) == Approx(2 * 2e-6 + 1e6 * 1e-9));
    // Every rank sends and gets nearly two copies, however many there are.
    CHECK(all_reduce_seconds(algorithm, 1024, 1e6, kBytes) == Approx(2e6 * 1e-9 * 1023 / 1024));
  }
  CHECK(all_reduce_seconds(Algorithm::kRing, 1024, 8, kLatency) == Approx(2 * 1023 * 2e-6));
  CHECK(all_reduce_seconds(Algorithm::kTree, 1024, 8, kLatency) == Approx(2 * 10 * 2e-6));
  CHECK(all_reduce_seconds(Algorithm::kTree, 5, 8, kLatency) == Approx(2 * 3 * 2e-6));
}

TEST_CASE("scale model: nodes of several ranks") {
  const Fabric fabric{Algorithm::kRing, 8, kBytes, {0, 1e-8}};
  CHECK(all_reduce_seconds(fabric, 8, 8e6) == Approx(2 * 7.0 / 8 * 8e6 * 1e-9));
  // Between four nodes each rank sends an eighth.
  CHECK(all_reduce_seconds(fabric, 32, 8e6) == Approx(2 * 7.0 / 8 * 8e6 * 1e-9 + 2 * 3.0 / 4 * 1e6 * 1e-8));
  CHECK(all_reduce_seconds({Algorithm::kRing, 1, kBytes, {0, 1e-8}}, 4, 1e6) ==
        Approx(2 * 3.0 / 4 * 1e6 * 1e-8));
}

TEST_CASE("scale model: buckets beside the backward pass") {
  const StepParts parts{1, 2, 0.5};
  const Fabric fabric{Algorithm::kRing, 2, {0, 1}, {0, 1}};  // on two ranks a byte a second
  CHECK(step_time(parts, {{1, 0.5}, {1, 1}}, fabric, 1, 1).seconds == Approx(3.5));
  // The first from 2 to 3, the second from 3, when the backward pass ends.
  const StepTime hidden = step_time(parts, {{1, 0.5}, {1, 1}}, fabric, 2, 1);
  CHECK(hidden.seconds == Approx(4.5));
  CHECK(hidden.exposed == Approx(1));
  CHECK(step_time(parts, {{5, 0.5}, {1, 1}}, fabric, 2, 1).seconds ==
        Approx(2 + 6 + 0.5));  // the link is busy
  CHECK(step_time(parts, {{1, 0.5}, {1, 1}}, fabric, 2, 0).seconds == Approx(5.5));
  CHECK(step_time(parts, {{1, 1}, {1, 1}}, fabric, 2, 1).seconds == Approx(5.5));  // after the backward pass
}

TEST_CASE("scale model: rounds of pictures that do not divide") {
  CHECK(round_time(8, 4, 3, {0, 0}).efficiency == Approx(1));
  CHECK(round_time(6, 4, 3, {0, 0}).seconds == Approx(6));
  CHECK(round_time(6, 4, 3, {0, 0}).efficiency == Approx(0.75));
  CHECK(round_time(4, 1024, 3, {0, 0}).efficiency == Approx(4.0 / 1024));
  CHECK(round_time(1, 1, 3, {1, 1}).seconds == Approx(3));
  CHECK(round_time(8, 8, 3, {0.1, 0}).seconds == Approx(3.3));
}

TEST_CASE("scale model: latency and bandwidth from measured all-reduces") {
  const Link link{5e-6, 2e-10};
  std::vector<Measured> measured;
  for (double bytes = 4096; bytes < 1e8; bytes *= 4)
    measured.push_back({bytes, all_reduce_seconds(Algorithm::kRing, 2, bytes, link)});
  CHECK(fit_link(measured).latency == Approx(link.latency));
  CHECK(fit_link(measured).per_byte == Approx(link.per_byte));
  CHECK(fit_link({{1e6, 1e-3}, {2e6, 3e-3}}).latency == 0);  // faster than in proportion: no latency below 0
}

}  // namespace
}  // namespace wandistill::bench
