// The project's kernels against their twins, and the test kernels against plain arithmetic.
#include "tests/simt/subjects.h"

namespace wandistill::simt_test {
namespace {

constexpr int64_t kSizes[] = {1, 5, 7, 64, 77, 129, 257};
const Queue kHost{};

TEST_CASE("GELU, forward and backward") {
  on_every_device([](DeviceSession& session, const TestKernels&) {
    for (const int64_t n : kSizes)
      for (const int64_t offset : {0, 1}) {  // 1: not aligned
        CAPTURE(n);
        CAPTURE(offset);
        const auto size = static_cast<size_t>(n), from = static_cast<size_t>(offset);
        auto x = normal(n + offset, 1), dy = normal(n + offset, 2);
        for (float& v : x) v *= 3;
        std::vector<float> y(size), dx(size);
        ref::gelu_forward(n, x.data() + from, y.data(), kHost);
        ref::gelu_backward(n, x.data() + from, dy.data() + from, dx.data(), kHost);
        const auto device_x = session.upload(x), device_dy = session.upload(dy);
        auto out = session.buffer<float>(n);
        session.ops<float>().gelu_forward(n, device_x.data() + from, out.data(), session.queue);
        CHECK(difference(session.download(out), y) <= 2e-6);
        auto gradient = session.buffer<float>(n);
        session.ops<float>().gelu_backward(n, device_x.data() + from, device_dy.data() + from,
                                           gradient.data(), session.queue);
        CHECK(difference(session.download(gradient), dx) <= 5e-6);
        // In place.
        auto both = session.upload(dy);
        session.ops<float>().gelu_backward(n, device_x.data() + from, both.data() + from, both.data() + from,
                                           session.queue);
        auto in_place = session.download(both);
        in_place.erase(in_place.begin(), in_place.begin() + offset);
        CHECK(difference(in_place, dx) <= 5e-6);
      }
  });
}

TEST_CASE("GELU, more elements than the grid has threads") {
  DeviceSession session(make_simt_device({}), 2);
  const int64_t n = 1024 * 256 + 77;
  const auto x = normal(n + 1, 1);  // an offset of one: not aligned, so one element per thread
  std::vector<float> y(static_cast<size_t>(n));
  ref::gelu_forward(n, x.data() + 1, y.data(), kHost);
  const auto device_x = session.upload(x);
  auto out = session.buffer<float>(n);
  session.ops<float>().gelu_forward(n, device_x.data() + 1, out.data(), session.queue);
  CHECK(difference(session.download(out), y) <= 2e-6);
}

template <class T>
void test_column_sums(DeviceSession& session, int64_t rows, int64_t columns, int64_t offset) {
  CAPTURE(rows);
  CAPTURE(columns);
  CAPTURE(offset);
  const auto values = normal(rows * columns + offset, 1);
  std::vector<T> x(values.size());
  std::vector<float> seen(values.size());  // what T keeps of them
  for (size_t i = 0; i < x.size(); ++i) {
    if constexpr (std::is_same_v<T, bf16>)
      seen[i] = to_float(x[i] = to_bf16(values[i]));
    else
      seen[i] = x[i] = values[i];
  }
  std::vector<float> sums(static_cast<size_t>(columns), 3.0f);
  const auto device_x = session.upload(x);
  auto device_sums = session.upload(sums);
  ref::add_column_sums(rows, columns, seen.data() + offset, sums.data(), kHost);
  session.ops<T>().add_column_sums(rows, columns, device_x.data() + offset, device_sums.data(),
                                   session.queue);
  CHECK(difference(session.download(device_sums), sums) <= 1e-5 * std::sqrt(double(rows)));
}

TEST_CASE("column sums, added to what is there") {
  on_every_device([](DeviceSession& session, const TestKernels&) {
    for (const int64_t rows : {1, 7, 129, 300})
      for (const int64_t columns : {1, 5, 77, 128, 132})
        for (const int64_t offset : {0, 1}) {  // 1: not aligned
          test_column_sums<float>(session, rows, columns, offset);
          test_column_sums<bf16>(session, rows, columns, offset);
        }
  });
  // As many parts as there can be, of uneven rows.
  DeviceSession session(make_simt_device({}), 2);
  test_column_sums<float>(session, 64 * 128 + 77, 5, 0);
}

TEST_CASE("test kernels: attention and column sums") {
  on_every_device([](DeviceSession& session, const TestKernels& kernels) {
    for (const int tokens : {1, 5, 64, 77, 129, 257}) {
      CAPTURE(tokens);
      CHECK(attention_tensor_core_error(session, kernels, Fault::kNone, tokens) <= kTensorCoreBound);
      if (tokens <= 129) CHECK(attention_tiles_error(session, kernels, Fault::kNone, tokens) <= kTilesBound);
    }
    CHECK(column_sums_error(session, kernels, Fault::kNone, 131, 264) <= kSumsBound);
    CHECK(pipeline_error(session, Fault::kNone) <= kPipelineBound);
  });
}

TEST_CASE("without float atomics the bits are the same in every order") {
  std::vector<float> first;
  for (const SimtCase& c : kSimtCases) {
    DeviceSession session(make_simt_device(c.options), c.threads);
    const auto x = session.upload(normal(3 * 77, 1)), modulation = session.upload(normal(2 * 77, 2));
    auto out = session.buffer<float>(3 * 77), means = session.buffer<float>(3),
         rstds = session.buffer<float>(3);
    session.ops<float>().layer_norm_forward({1, 3, 77, 0, 0.0f, 1e-6f}, x.data(), modulation.data(),
                                            modulation.data() + 77, out.data(), means.data(), rstds.data(),
                                            session.queue);
    const auto found = session.download(out);
    if (first.empty()) first = found;
    CHECK(found == first);
  }
}

}  // namespace
}  // namespace wandistill::simt_test
