// The kernels of attention's backward pass against their twin.
#include <string>

#include "tests/simt/attention_tensors.h"

namespace wandistill::simt_test {
namespace {

const Queue kHost{};

// Queries and keys of less than a tile, one tile, an exact multiple, ragged, three tiles and more: of 32,
// of 64. Last, scores so low that exp(-log_sum_exp), the weight of a score of zero, is infinite.
const std::vector<AttentionCase> kCases = {{1, 1, 16, {1}, false},
                                           {5, 2, 32, {5, 77}, true},
                                           {7, 3, 48, {64, 1, 129}, true},
                                           {257, 1, 16, {257, 5}, true},
                                           {257, 1, 64, {1, 5, 77, 129, 257}, true},
                                           {77, 1, 96, {1, 5, 77, 129, 257}, true},
                                           {129, 1, 128, {257, 64}, true},
                                           {128, 2, 64, {128, 64}, false},
                                           {129, 1, 48, {200}, false},
                                           {200, 1, 32, {129}, true},
                                           {129, 1, 80, {130}, false},
                                           {129, 1, 112, {200}, true},
                                           {33, 1, 16, {1, 1, 1, 1}, true, 100}};
// So many queries for so few keys that they are split among blocks.
const std::vector<AttentionCase> kSplitCases = {{600, 1, 16, {5, 70}, true}, {520, 1, 128, {3}, true}};
// For Hopper's kernels besides: blocks of 128 keys go through tiles of 96 or 64 queries, blocks of 128
// queries through tiles of 128 keys, which are counted from a sample's last key. Then parts whose last tile
// reaches into the next one, and scores far below zero, or above.
const std::vector<AttentionCase> kHopperCases = {
    {1, 1, 64, {1, 257}, true},           {193, 2, 64, {70}, true},   {97, 1, 64, {400}, false},
    {65, 2, 128, {256, 1}, false},        {200, 1, 128, {130}, true}, {5, 1, 128, {515}, true},
    {600, 1, 64, {5, 70}, true},          {400, 1, 128, {129}, true}, {33, 1, 64, {1, 1, 1, 1}, true, 100},
    {70, 1, 128, {3, 130, 1}, true, 100}, {7, 1, 64, {64}, true}};

struct Gradients {
  std::vector<float> dq, dk, dv;
  bool operator==(const Gradients&) const = default;
};

/// What the kernels are to find, and `magnitudes`: a kernel that rounds weights, scores' gradients, out and
/// the results, each by at most a share u, is off by at most u * magnitudes. That is, with o = sum of |out
/// dout|,
///   dv: sum of p |dout| + |dv|,  dk: sum of (|ds| + scale p o) |q| + |dk|,  dq: the same with k for q.
struct Expected {
  std::vector<float> out, lse;
  Gradients gradients, magnitudes;

  template <class T>
  explicit Expected(const AttentionTensors<T>& t) : out(t.q.size()), lse(t.statistics()) {
    gradients = {t.q, t.k, t.v};  // overwritten
    ref::attention_forward(t.shape, t.q.data(), t.k.data(), t.v.data(), out.data(), lse.data(), kHost);
    ref::attention_backward(t.shape, t.q.data(), t.k.data(), t.v.data(), out.data(), lse.data(),
                            t.dout.data(), gradients.dq.data(), gradients.dk.data(), gradients.dv.data(),
                            kHost);
    magnitudes = gradients;
    for (auto* values : {&magnitudes.dq, &magnitudes.dk, &magnitudes.dv})
      for (float& value : *values) value = std::abs(value);
    const AttentionShape& s = t.shape;
    for (int64_t row = 0; row < s.batch * s.queries * s.heads; ++row) {  // of [B, Lq, H]
      const int64_t head = row % s.heads, sample = row / s.heads / s.queries;
      const int64_t query = row / s.heads % s.queries, D = s.head_dim;
      const float *q = &t.q[row * D], *dout = &t.dout[row * D], *o = &out[row * D];
      double delta = 0, size = 0;
      for (int64_t d = 0; d < D; ++d) {
        delta += double{o[d]} * dout[d];
        size += std::abs(double{o[d]} * dout[d]);
      }
      for (int64_t key = s.key_offsets[sample]; key < s.key_offsets[sample + 1]; ++key) {
        const int64_t at = (key * s.heads + head) * D;
        const bool biased = s.last_key_bias != nullptr && key + 1 == s.key_offsets[sample + 1];
        double score = biased ? s.last_key_bias[sample] : 0, dp = 0;
        for (int64_t d = 0; d < D; ++d) {
          score += double{s.scale} * q[d] * t.k[at + d];
          dp += double{dout[d]} * t.v[at + d];
        }
        const double p = std::exp(score - lse[(sample * s.heads + head) * s.queries + query]);
        const double ds = s.scale * p * (std::abs(dp - delta) + size);
        for (int64_t d = 0; d < D; ++d) {
          magnitudes.dq[row * D + d] += static_cast<float>(ds * std::abs(t.k[at + d]));
          magnitudes.dk[at + d] += static_cast<float>(ds * std::abs(q[d]));
          magnitudes.dv[at + d] += static_cast<float>(p * std::abs(dout[d]));
        }
      }
    }
  }
};

/// The largest |found - expected| as a share of what rounding may change; NaN if there is one.
double share(const std::vector<float>& found, const std::vector<float>& expected,
             const std::vector<float>& magnitudes) {
  double largest = found.size() == expected.size() ? 0 : NAN;
  for (size_t i = 0; i < found.size() && !std::isnan(largest); ++i) {
    const double error = std::abs(double{found[i]} - expected[i]);
    const double of = error == 0 ? 0 : error / magnitudes[i];
    if (!(of <= largest)) largest = of;
  }
  return largest;
}

// Of sums in float32, and in bf16 of the rounding that Expected describes besides.
template <class T>
constexpr double kBound = (std::is_same_v<T, float> ? 0 : kRounding<bf16>)+1e-5;

/// Runs the op on tensors of which number `moved` is not aligned (q, k, v, out, dout, dq, dk, dv; -1: none).
template <class T>
Gradients run(DeviceSession& session, const AttentionTensors<T>& t, const Expected& expected,
              int moved = -1) {
  int count = 0;
  const auto place = [&](const std::vector<float>& values) {
    return Guarded<T>(session, values, count++ == moved);
  };
  const auto room = [&](size_t size) { return std::vector<float>(size, NAN); };
  auto q = place(t.q), k = place(t.k), v = place(t.v), out = place(expected.out), dout = place(t.dout);
  auto dq = place(room(t.q.size())), dk = place(room(t.k.size())), dv = place(room(t.v.size()));
  const auto lse = session.upload(expected.lse);
  session.ops<T>().attention_backward(t.device_shape, q.data(), k.data(), v.data(), out.data(), lse.data(),
                                      dout.data(), dq.data(), dk.data(), dv.data(), session.queue);
  return {dq.values(), dk.values(), dv.values()};
}

void check_close(const Gradients& found, const Expected& expected, double bound) {
  CHECK(share(found.dq, expected.gradients.dq, expected.magnitudes.dq) <= bound);
  CHECK(share(found.dk, expected.gradients.dk, expected.magnitudes.dk) <= bound);
  CHECK(share(found.dv, expected.gradients.dv, expected.magnitudes.dv) <= bound);
}

/// body(session) on every device, or on every Hopper.
template <class Body>
void on_devices(bool hopper, Body body) {
  if (hopper)
    on_hopper([&](DeviceSession& session, const HopperKernels&) { body(session); });
  else
    on_every_device([&](DeviceSession& session, const TestKernels&) { body(session); });
}

/// On all these devices: close to the twin, and the same bits, on the SIMT device in every order, on a GPU
/// when it does it again.
template <class T>
void check(const AttentionCase& c, int moved = -1, bool hopper = false) {
  CAPTURE(c.queries);
  CAPTURE(c.head_dim);
  CAPTURE(moved);
  std::unique_ptr<Expected> expected;
  std::unique_ptr<Gradients> first;
  on_devices(hopper, [&](DeviceSession& session) {
    const AttentionTensors<T> t(session, c);
    if (!expected) expected = std::make_unique<Expected>(t);
    const Gradients found = run<T>(session, t, *expected, moved);
    check_close(found, *expected, kBound<T>);
    if (!session.simt) {
      CHECK(run<T>(session, t, *expected, moved) == found);
      return;
    }
    if (!first) first = std::make_unique<Gradients>(found);
    CHECK(found == *first);
  });
}

TEST_CASE("attention, backward") {
  for_each_type([]<class T>() {
    for (const AttentionCase& c : kCases) check<T>(c);
  });
}

TEST_CASE("attention, backward: few keys for many queries") {
  for_each_type([]<class T>() {
    for (const AttentionCase& c : kSplitCases) check<T>(c);
  });
}

TEST_CASE("attention, backward, Hopper") {
  for (const auto* cases : {&kCases, &kSplitCases})
    for (const AttentionCase& c : *cases)
      if (c.head_dim == 64 || c.head_dim == 128) check<bf16>(c, -1, true);
  for (const AttentionCase& c : kHopperCases) check<bf16>(c, -1, true);
  check<bf16>({9, 1, 32, {70}, true}, -1, true);  // by the other kernels
  check<bf16>({0, 2, 64, {5, 70}, true}, -1, true);
  check<bf16>({9, 1, 64, {70}, true}, 3, true);  // out may lie anywhere
}

TEST_CASE("attention, backward: another sample's infinities and NaN stay there") {
  constexpr int64_t kQueries = 125;  // every warp of a block has some
  for (const bool hopper : {false, true})
    on_devices(hopper, [](DeviceSession& session) {
      for (const int64_t head_dim : {64, 128}) {
        CAPTURE(head_dim);
        AttentionTensors<bf16> t(session, {kQueries, 1, head_dim, {40, 7, 20}, true});
        Expected expected(t);
        const auto of_queries = [&](std::vector<float>& all, float poison) {
          std::fill(all.begin(), all.begin() + kQueries * head_dim, poison);
          std::fill(all.begin() + 2 * kQueries * head_dim, all.end(), poison);
        };
        const auto of_keys = [&](std::vector<float>& all, float before, float behind) {
          std::fill(all.begin(), all.begin() + 40 * head_dim, before);
          std::fill(all.begin() + 47 * head_dim, all.end(), behind);
        };
        of_queries(t.q, INFINITY);
        of_queries(t.dout, INFINITY);
        of_queries(expected.out, NAN);
        of_keys(t.k, INFINITY, NAN);
        of_keys(t.v, INFINITY, NAN);
        const Gradients found = run<bf16>(session, t, expected);
        const auto second = [&](const Gradients& of) {
          const auto rows = [&](const std::vector<float>& all, int64_t first, int64_t behind) {
            return std::vector<float>(all.begin() + first * head_dim, all.begin() + behind * head_dim);
          };
          return Gradients{rows(of.dq, kQueries, 2 * kQueries), rows(of.dk, 40, 47), rows(of.dv, 40, 47)};
        };
        expected.gradients = second(expected.gradients);
        expected.magnitudes = second(expected.magnitudes);
        check_close(second(found), expected, kBound<bf16>);
      }
    });
}

TEST_CASE("attention, backward: no queries, no gradient of the keys") {
  for_each_type([]<class T>() { check<T>({0, 2, 32, {5, 70}, true}); });
}

TEST_CASE("attention, backward: in float32 any head dim and tensors that are not aligned") {
  check<float>({9, 2, 10, {7}, true});
  check<float>({600, 2, 10, {7, 1}, true});
  for (int moved = 0; moved < 8; ++moved) check<float>({40, 2, 68, {33, 5}, true}, moved);
}

TEST_CASE("attention, backward: what it does not take is named") {
  const auto check_refusals = [](DeviceSession& session) {
    const auto refused = [&]<class T>(const AttentionCase& c, int moved, const std::string& why) {
      const AttentionTensors<T> t(session, c);
      const Expected expected(t);
      CHECK_THROWS_WITH(run<T>(session, t, expected, moved), doctest::Contains(why.c_str()));
    };
    refused.template operator()<float>({3, 1, 144, {5}, false}, -1, "head dim 144 is not supported");
    refused.template operator()<bf16>({3, 1, 144, {5}, false}, -1, "head dim 144 is not supported");
    refused.template operator()<bf16>({3, 1, 40, {5}, false}, -1, "head dim 40 is not supported");
    for (const int moved : {0, 1, 2, 4, 5, 6, 7})
      refused.template operator()<bf16>({3, 1, 64, {5}, false}, moved, "aligned to 16 bytes");
  };
  for (const bool hopper : {false, true}) on_devices(hopper, check_refusals);
}

}  // namespace
}  // namespace wandistill::simt_test
