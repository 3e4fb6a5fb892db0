// The attention kernels against their twins.
#include "tests/simt/attention_tensors.h"

namespace wandistill::simt_test {
namespace {

const Queue kHost{};

// Queries of less than a tile, one tile, several; keys of one tile, an exact multiple, ragged, three or more;
// a last tile of one key, which is the biased one.
const std::vector<AttentionCase> kCases = {
    {1, 1, 16, {1, 257}, true}, {5, 2, 32, {5, 77, 129}, true}, {7, 3, 48, {64, 1, 129}, true},
    {77, 1, 64, {257}, true},   {129, 2, 64, {128, 64}, true},  {64, 1, 96, {77, 5, 192}, true},
    {130, 1, 128, {200}, true}, {5, 1, 128, {257}, false},      {129, 1, 80, {130}, false},
    {129, 1, 112, {200}, true}, {257, 1, 64, {77}, true}};
const std::vector<AttentionCase> kWideCases = {{5, 1, 144, {77}, true},         {70, 1, 256, {33}, false},
                                               {7, 2, 384, {129, 1, 32}, true}, {3, 1, 400, {65}, true},
                                               {2, 1, 512, {65}, true},         {257, 1, 144, {64, 5}, true}};

// For Hopper's kernel, whose tiles are 192 or 128 queries by 128 keys, counted from a sample's last key.
const std::vector<AttentionCase> kHopperCases = {
    {1, 1, 64, {1, 257}, true}, {193, 2, 64, {128, 64}, true}, {400, 1, 64, {5}, false},
    {77, 1, 64, {700}, true},   {65, 2, 128, {256, 1}, false}, {129, 1, 128, {129, 77}, true},
    {5, 1, 128, {641}, true},   {7, 1, 64, {64}, true}};

// The weights are rounded to bf16 before they meet the values, and the output.
template <class T>
constexpr double kForwardBound = std::is_same_v<T, float> ? 1e-5 : 1.5 * kRounding<bf16>;

template <class T>
void check_forward(DeviceSession& session, const AttentionCase& c) {
  CAPTURE(c.queries);
  CAPTURE(c.head_dim);
  const AttentionTensors<T> t(session, c);
  std::vector<float> out(t.q.size()), lse(static_cast<size_t>(t.statistics()));
  ref::attention_forward(t.shape, t.q.data(), t.k.data(), t.v.data(), out.data(), lse.data(), kHost);
  Guarded<T> device_out(session, std::ssize(out));
  Guarded<float> device_lse(session, t.statistics());
  session.ops<T>().attention_forward(t.device_shape, t.device_q.data(), t.device_k.data(), t.device_v.data(),
                                     device_out.data(), device_lse.data(), session.queue);
  CHECK(relative_difference(device_out.values(), out) <= kForwardBound<T>);
  CHECK(relative_difference(device_lse.values(), lse) <= 1e-5);
}

TEST_CASE("attention, forward") {
  on_every_device([](DeviceSession& session, const TestKernels&) {
    for_each_type([&]<class T>() {
      for (const AttentionCase& c : kCases) check_forward<T>(session, c);
      for (const AttentionCase& c : kWideCases) check_forward<T>(session, c);
    });
  });
}

TEST_CASE("attention, forward, Hopper") {
  on_hopper([](DeviceSession& session, const HopperKernels&) {
    for (const AttentionCase& c : kHopperCases) check_forward<bf16>(session, c);
    check_forward<bf16>(session, {9, 1, 32, {70}, true});  // by the other kernel
  });
}

TEST_CASE("attention, forward: float32 takes any head dim and alignment, bf16 says what it does not take") {
  on_every_device([](DeviceSession& session, const TestKernels&) {
    check_forward<float>(session, {9, 2, 2, {7, 70}, true});
    check_forward<float>(session, {9, 2, 10, {7, 70}, true});
    check_forward<float>(session, {9, 1, 131, {70}, true});
    const auto refused = [&](int64_t head_dim, float scale, int64_t skipped) {
      const AttentionTensors<bf16> t(session, {9, 2, head_dim, {7}, false});
      auto out = session.buffer<bf16>(static_cast<int64_t>(t.q.size()));
      AttentionShape shape = t.device_shape;
      shape.scale = scale;
      session.ops<bf16>().attention_forward(shape, t.device_q.data() + skipped, t.device_k.data(),
                                            t.device_v.data(), out.data(), nullptr, session.queue);
    };
    CHECK_THROWS_WITH(refused(10, 1, 0), doctest::Contains("head dim 10 is not supported"));
    CHECK_THROWS_WITH(refused(528, 1, 0), doctest::Contains("a multiple of 16 up to 512"));
    CHECK_THROWS_WITH(refused(16, -1, 0), doctest::Contains("scale -1 is not positive"));
    CHECK_THROWS_WITH(refused(16, 1, 1), doctest::Contains("aligned to 16 bytes"));
  });
}

TEST_CASE("attention, forward: float32 tensors that are not aligned, each in turn, without log_sum_exp") {
  on_every_device([](DeviceSession& session, const TestKernels&) {
    const AttentionTensors<float> t(session, {9, 1, 16, {70}, true});
    std::vector<float> expected(t.q.size());
    ref::attention_forward(t.shape, t.q.data(), t.k.data(), t.v.data(), expected.data(), nullptr, kHost);
    for (int which = 0; which < 4; ++which) {
      CAPTURE(which);
      const Guarded<float> q(session, t.q, which == 0), k(session, t.k, which == 1),
          v(session, t.v, which == 2);
      Guarded<float> out(session, std::ssize(t.q), which == 3);
      session.ops<float>().attention_forward(t.device_shape, q.data(), k.data(), v.data(), out.data(),
                                             nullptr, session.queue);
      CHECK(relative_difference(out.values(), expected) <= kForwardBound<float>);
    }
  });
}

/// Query and keys are multiples of one vector: scores of -90 to 90, rising or falling.
template <class T>
void check_wide_range(DeviceSession& session, int64_t dim) {
  constexpr int64_t kKeys = 200;
  for (const float direction : {1.0f, -1.0f}) {
    const std::vector<int64_t> offsets{0, kKeys};
    const auto width = static_cast<size_t>(dim);
    std::vector<float> q(width, 1), k(kKeys * width);
    const std::vector<float> v = rounded<T>(normal(kKeys * dim, 3));
    for (size_t i = 0; i < k.size(); ++i)
      k[i] = direction * 22.5f * (static_cast<float>(i / width) / (kKeys / 2) - 1);
    k = rounded<T>(k);
    AttentionShape shape{1, 1, 1, dim, kKeys, offsets.data(), nullptr, 4 / static_cast<float>(dim)};
    std::vector<float> out(width), lse(1);
    ref::attention_forward(shape, q.data(), k.data(), v.data(), out.data(), lse.data(), kHost);
    const auto device_offsets = session.upload(offsets);
    const auto device_q = upload_as<T>(session, q), device_k = upload_as<T>(session, k),
               device_v = upload_as<T>(session, v);
    shape.key_offsets = device_offsets.data();
    Guarded<T> device_out(session, dim);
    Guarded<float> device_lse(session, 1);
    session.ops<T>().attention_forward(shape, device_q.data(), device_k.data(), device_v.data(),
                                       device_out.data(), device_lse.data(), session.queue);
    CHECK(relative_difference(device_out.values(), out) <= kForwardBound<T>);
    CHECK(relative_difference(device_lse.values(), lse) <= 1e-5);
  }
}

TEST_CASE("attention, forward: scores that rise from tile to tile, and far from zero") {
  on_every_device([](DeviceSession& session, const TestKernels&) {
    for_each_type([&]<class T>() { check_wide_range<T>(session, 16); });
  });
  on_hopper([](DeviceSession& session, const HopperKernels&) { check_wide_range<bf16>(session, 64); });
}

/// The second of two samples' queries from the fifth on, alone, have the bits they have among all.
template <class T>
void check_bits_alone(DeviceSession& session, int64_t head_dim) {
  CAPTURE(head_dim);
  constexpr int64_t kQueries = 70, kHeads = 2, kFirstKeys = 90, kKeys = 130, kSkipped = 4;
  const int64_t width = kHeads * head_dim, count = kQueries - kSkipped;
  const AttentionTensors<T> t(session, {kQueries, kHeads, head_dim, {kFirstKeys, kKeys}, true});
  Guarded<T> out(session, std::ssize(t.q));
  session.ops<T>().attention_forward(t.device_shape, t.device_q.data(), t.device_k.data(), t.device_v.data(),
                                     out.data(), nullptr, session.queue);
  const auto offsets = session.upload(std::vector<int64_t>{0, kKeys});
  AttentionShape alone = t.device_shape;
  alone.batch = 1;
  alone.queries = count;
  alone.key_offsets = offsets.data();
  alone.last_key_bias = t.device_bias.data() + 1;
  Guarded<T> part(session, count * width);
  session.ops<T>().attention_forward(
      alone, t.device_q.data() + (kQueries + kSkipped) * width, t.device_k.data() + kFirstKeys * width,
      t.device_v.data() + kFirstKeys * width, part.data(), nullptr, session.queue);
  std::vector<float> whole = out.values();
  whole.erase(whole.begin(), whole.begin() + (kQueries + kSkipped) * width);
  CHECK(part.values() == whole);
}

TEST_CASE("attention, forward: a query's bits depend on it and its sample's keys alone") {
  on_every_device([](DeviceSession& session, const TestKernels&) {
    for_each_type([&]<class T>() {
      check_bits_alone<T>(session, 64);
      check_bits_alone<T>(session, 144);
    });
  });
  on_hopper([](DeviceSession& session, const HopperKernels&) {
    check_bits_alone<bf16>(session, 64);
    check_bits_alone<bf16>(session, 128);
  });
}

TEST_CASE("attention, forward: another sample's infinities and NaN stay there") {
  const auto check = [](DeviceSession& session) {
    for (const int64_t head_dim : {64, 128}) {
      CAPTURE(head_dim);
      const AttentionTensors<bf16> t(session, {3, 1, head_dim, {40, 7, 20}, true});
      const auto row = static_cast<size_t>(head_dim);
      std::vector<float> k = t.k, v = t.v, expected(t.q.size());
      ref::attention_forward(t.shape, t.q.data(), k.data(), v.data(), expected.data(), nullptr, kHost);
      std::fill(k.begin(), k.begin() + static_cast<std::ptrdiff_t>(40 * row), NAN);
      std::fill(v.begin(), v.begin() + static_cast<std::ptrdiff_t>(40 * row), INFINITY);
      std::fill(v.begin() + static_cast<std::ptrdiff_t>(47 * row), v.end(), NAN);
      const auto device_k = upload_as<bf16>(session, k), device_v = upload_as<bf16>(session, v);
      Guarded<bf16> out(session, std::ssize(t.q));
      session.ops<bf16>().attention_forward(t.device_shape, t.device_q.data(), device_k.data(),
                                            device_v.data(), out.data(), nullptr, session.queue);
      const auto second = [&](const std::vector<float>& all) {
        return std::vector<float>(all.begin() + static_cast<std::ptrdiff_t>(3 * row),
                                  all.begin() + static_cast<std::ptrdiff_t>(6 * row));
      };
      CHECK(relative_difference(second(out.values()), second(expected)) <= kForwardBound<bf16>);
    }
  };
  on_every_device([&](DeviceSession& session, const TestKernels&) { check(session); });
  on_hopper([&](DeviceSession& session, const HopperKernels&) { check(session); });
}

}  // namespace
}  // namespace wandistill::simt_test
