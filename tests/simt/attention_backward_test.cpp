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
                                           {5, 1, 80, {130}, false},
                                           {5, 1, 112, {65}, true},
                                           {33, 1, 16, {1, 1, 1, 1}, true, 100}};
// So many queries for so few keys that they are split among blocks.
const std::vector<AttentionCase> kSplitCases = {{600, 1, 16, {5, 70}, true}, {520, 1, 128, {3}, true}};

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

/// A device tensor that starts `shift` elements behind an aligned address.
template <class T>
struct Placed {
  DeviceBuffer<T> buffer;
  int64_t shift;
  Placed(DeviceSession& session, std::vector<float> values, bool shifted) : shift(shifted) {
    values.insert(values.begin(), shift, NAN);
    buffer = upload_as<T>(session, values);
  }
  T* data() { return buffer.data() + shift; }
  /// Without the guard elements; NaN for all if one of them was written.
  std::vector<float> values(DeviceSession& session) const {
    auto all = guarded(download_as_float(session, buffer));
    all.erase(all.begin(), all.begin() + shift);
    return all;
  }
};

/// Runs the op on tensors of which number `moved` is not aligned (q, k, v, out, dout, dq, dk, dv; -1: none).
template <class T>
Gradients run(DeviceSession& session, const AttentionTensors<T>& t, const Expected& expected,
              int moved = -1) {
  int count = 0;
  const auto place = [&](std::vector<float> values) { return Placed<T>(session, values, count++ == moved); };
  const auto room = [&](size_t size) { return std::vector<float>(size + kGuard, NAN); };
  auto q = place(t.q), k = place(t.k), v = place(t.v), out = place(expected.out), dout = place(t.dout);
  auto dq = place(room(t.q.size())), dk = place(room(t.k.size())), dv = place(room(t.v.size()));
  const auto lse = session.upload(expected.lse);
  session.ops<T>().attention_backward(t.device_shape, q.data(), k.data(), v.data(), out.data(), lse.data(),
                                      dout.data(), dq.data(), dk.data(), dv.data(), session.queue);
  return {dq.values(session), dk.values(session), dv.values(session)};
}

void check_close(const Gradients& found, const Expected& expected, double bound) {
  CHECK(share(found.dq, expected.gradients.dq, expected.magnitudes.dq) <= bound);
  CHECK(share(found.dk, expected.gradients.dk, expected.magnitudes.dk) <= bound);
  CHECK(share(found.dv, expected.gradients.dv, expected.magnitudes.dv) <= bound);
}

/// On every device: close to the twin, and on the SIMT device the same bits in every order.
template <class T>
void check(const AttentionCase& c, int moved = -1) {
  CAPTURE(c.queries);
  CAPTURE(c.head_dim);
  CAPTURE(moved);
  std::unique_ptr<Expected> expected;
  std::unique_ptr<Gradients> first;
  on_every_device([&](DeviceSession& session, const TestKernels&) {
    const AttentionTensors<T> t(session, c);
    if (!expected) expected = std::make_unique<Expected>(t);
    const Gradients found = run<T>(session, t, *expected, moved);
    check_close(found, *expected, kBound<T>);
    if (!first) first = std::make_unique<Gradients>(found);
    if (session.simt) CHECK(found == *first);
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

TEST_CASE("attention, backward: no queries, no gradient of the keys") {
  for_each_type([]<class T>() { check<T>({0, 2, 32, {5, 70}, true}); });
}

TEST_CASE("attention, backward: in float32 any head dim and tensors that are not aligned") {
  check<float>({9, 2, 10, {7}, true});
  check<float>({600, 2, 10, {7, 1}, true});
  for (int moved = 0; moved < 8; ++moved) check<float>({40, 2, 68, {33, 5}, true}, moved);
}

TEST_CASE("attention, backward: what it does not take is named") {
  on_every_device([](DeviceSession& session, const TestKernels&) {
    const auto refused = [&]<class T>(const AttentionCase& c, int moved, const std::string& why) {
      const AttentionTensors<T> t(session, c);
      const Expected expected(t);
      CHECK_THROWS_WITH(run<T>(session, t, expected, moved), doctest::Contains(why.c_str()));
    };
    refused.template operator()<float>({3, 1, 144, {5}, false}, -1, "head dim 144 is not supported");
    refused.template operator()<bf16>({3, 1, 144, {5}, false}, -1, "head dim 144 is not supported");
    refused.template operator()<bf16>({3, 1, 40, {5}, false}, -1, "head dim 40 is not supported");
    for (const int moved : {0, 1, 2, 4, 5, 6, 7})
      refused.template operator()<bf16>({3, 1, 32, {5}, false}, moved, "aligned to 16 bytes");
  });
}

}  // namespace
}  // namespace wandistill::simt_test
