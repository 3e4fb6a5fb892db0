// The products of device_ops.h against the plain twins.
#include <array>

#include "tests/relative_error.h"
#include "tests/simt/device_session.h"
#include "wandistill/device_ops.h"

namespace wandistill::simt_test {
namespace {

const Queue kHost{};

template <class T>
std::vector<T> narrowed(const std::vector<float>& values) {
  if constexpr (std::is_same_v<T, float>) return values;
  std::vector<T> result(values.size());
  for (size_t i = 0; i < values.size(); ++i) {
    if constexpr (std::is_same_v<T, bf16>) result[i] = to_bf16(values[i]);
  }
  return result;
}

template <class T>
std::vector<float> widened(const std::vector<T>& values) {
  std::vector<float> result(values.size());
  for (size_t i = 0; i < values.size(); ++i) {
    if constexpr (std::is_same_v<T, bf16>)
      result[i] = to_float(values[i]);
    else
      result[i] = values[i];
  }
  return result;
}

/// Normal values that T can hold, here and on the device.
template <class T>
struct Tensor {
  Tensor(DeviceSession& session, int64_t n, uint32_t seed)
      : host(widened(narrowed<T>(normal(n, seed)))), device(session.upload(narrowed<T>(host))) {}
  std::vector<float> host;
  DeviceBuffer<T> device;
};

template <class T>
void test_linear(DeviceSession& session, const OpsOf<T>& ops, int64_t m, int64_t n, int64_t k) {
  CAPTURE(m);
  CAPTURE(n);
  CAPTURE(k);
  const double bound = std::is_same_v<T, float> ? 2e-6 : 4e-3;
  const Queue& queue = session.queue;
  Tensor<T> x(session, m * k, 1), w(session, n * k, 2), bias(session, n, 3), dy(session, m * n, 4);
  std::vector<float> y(static_cast<size_t>(m * n)), act(y.size());
  const auto check = [&](const DeviceBuffer<T>& found, const std::vector<float>& expected) {
    CHECK(relative_error(widened(session.download(found)), expected) <= bound);
  };
  for (const bool with_bias : {true, false}) {
    const T* b = with_bias ? bias.device.data() : nullptr;
    ref::linear_gelu_forward(m, n, k, x.host.data(), w.host.data(), with_bias ? bias.host.data() : nullptr,
                             y.data(), act.data(), kHost);
    auto out = session.buffer<T>(m * n), raw = session.buffer<T>(m * n), gelu = session.buffer<T>(m * n);
    ops.linear_forward(m, n, k, x.device.data(), w.device.data(), b, out.data(), queue);
    check(out, y);
    ops.linear_gelu_forward(m, n, k, x.device.data(), w.device.data(), b, raw.data(), gelu.data(), queue);
    check(raw, y);
    check(gelu, act);
  }
  for (const bool accumulate : {false, true}) {
    Tensor<T> dx(session, m * k, 5);
    Tensor<float> dw(session, n * k, 6), db(session, n, 7);
    if (!accumulate) {
      session.stream->fill(dx.device.data(), 0xFF, m * k * static_cast<int64_t>(sizeof(T)));
      session.stream->fill(dw.device.data(), 0xFF, n * k * 4);
      session.stream->fill(db.device.data(), 0xFF, n * 4);
    }
    ref::linear_backward(m, n, k, x.host.data(), w.host.data(), dy.host.data(), dx.host.data(), accumulate,
                         dw.host.data(), accumulate, db.host.data(), kHost);
    ops.linear_backward(m, n, k, x.device.data(), w.device.data(), dy.device.data(), dx.device.data(),
                        accumulate, dw.device.data(), accumulate, db.device.data(), queue);
    check(dx.device, dx.host);
    CHECK(relative_error(session.download(dw.device), dw.host) <= 2e-6);
    CHECK(relative_error(session.download(db.device), db.host) <= 2e-6);
    // Nothing wanted: nothing touched.
    ops.linear_backward(m, n, k, x.device.data(), w.device.data(), dy.device.data(), nullptr, false, nullptr,
                        false, nullptr, queue);
    session.stream->synchronize();
  }
}

/// Rows of A, B and C lie further apart than they are long.
template <class T>
void test_matmul(DeviceSession& session, const OpsOf<T>& ops, bool transpose_a, bool transpose_b,
                 float beta) {
  CAPTURE(transpose_a);
  CAPTURE(transpose_b);
  CAPTURE(beta);
  const int64_t m = 37, n = 21, k = 53;
  MatmulShape shape = MatmulShape::dense(m, n, k, transpose_a, transpose_b, beta);
  shape.lda += 3;
  shape.ldb += 1;
  shape.ldc += 5;
  Tensor<T> a(session, (transpose_a ? k : m) * shape.lda, 1),
      b(session, (transpose_b ? n : k) * shape.ldb, 2), c(session, m * shape.ldc, 3);
  ref::matmul(shape, a.host.data(), b.host.data(), c.host.data(), kHost);
  ops.matmul(shape, a.device.data(), b.device.data(), c.device.data(), session.queue);
  // What lies between the rows is compared too.
  CHECK(relative_error(widened(session.download(c.device)), c.host) <=
        (std::is_same_v<T, float> ? 2e-6 : 4e-3));
}

template <class T>
void test_products(DeviceSession& session) {
  const OpsOf<T>& ops = session.simt ? simt_ops<T>() : cuda_ops<T>();
  for (const auto& [m, n, k] : {std::array<int64_t, 3>{1, 1, 1}, {5, 7, 3}, {77, 5, 129}, {129, 64, 40}})
    test_linear(session, ops, m, n, k);
  for (const bool a : {false, true})
    for (const bool b : {false, true})
      for (const float beta : {0.0f, 1.0f, 0.5f}) test_matmul(session, ops, a, b, beta);
}

TEST_CASE("products of float") {
  on_every_device([](DeviceSession& session, const TestKernels&) { test_products<float>(session); });
}

TEST_CASE("products of bf16") {
  on_every_device([](DeviceSession& session, const TestKernels&) { test_products<bf16>(session); });
}

}  // namespace
}  // namespace wandistill::simt_test
