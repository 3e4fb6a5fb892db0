// The convolution in steps around a plain one: the host's, as a stand-in for a library's, and on a GPU
// cuDNN's.
#include "tests/simt/conv_problem.h"
#include "wandistill/device_ops.h"
#include "wandistill/error.h"

namespace wandistill::simt_test {
namespace {

template <class T>
std::vector<float> download_floats(Stream& stream, const T* from, int64_t count) {
  std::vector<T> values(static_cast<size_t>(count));
  stream.download(values.data(), from, count * static_cast<int64_t>(sizeof(T)));
  std::vector<float> wide;
  for (const T v : values) {
    if constexpr (std::is_same_v<T, float>)
      wide.push_back(v);
    else
      wide.push_back(to_float(v));
  }
  return wide;
}

/// PlainConv2d by the twin.
template <class T>
void convolve_on_host(Stream& stream, const Conv2dShape& shape, const T* x, const T* weight, T* y) {
  REQUIRE(!shape.upsample);
  const int64_t rows = shape.kernel * shape.kernel * shape.c_in;
  const auto in = download_floats(stream, x, shape.height * shape.width * shape.c_in);
  const auto turned = download_floats(stream, weight, rows * shape.c_out);
  std::vector<float> plain(turned.size()), zeros(static_cast<size_t>(shape.c_out));
  for (int64_t o = 0; o < shape.c_out; ++o)
    for (int64_t r = 0; r < rows; ++r)
      plain[static_cast<size_t>(r * shape.c_out + o)] = turned[static_cast<size_t>(o * rows + r)];
  std::vector<float> out(static_cast<size_t>(shape.height * shape.width * shape.c_out));
  ref::conv2d_forward(shape, in.data(), nullptr, plain.data(), zeros.data(), nullptr, out.data(), Queue{});
  std::vector<T> narrow;
  for (const float v : out) {
    if constexpr (std::is_same_v<T, float>)
      narrow.push_back(v);
    else
      narrow.push_back(to_bf16(v));
  }
  stream.upload(y, narrow.data(), static_cast<int64_t>(narrow.size() * sizeof(T)));
}

/// The steps' kernels for the session's device.
template <class T>
auto steps_of(DeviceSession& session) {
  return [&session](const Conv2dShape& shape, const T* x, const T* gamma, const T* weight, const T* bias,
                    const T* residual, T* y, const Queue& queue) {
    auto* steps = simt::conv2d_in_steps<T>;
#ifdef WD_CUDA
    if (!session.simt) steps = cuda::conv2d_in_steps<T>;
#endif
    steps(shape, x, gamma, weight, bias, residual, y, queue,
          [&](const Conv2dShape& plain, const T* in, const T* turned, T* out) {
            convolve_on_host(*queue.stream, plain, in, turned, out);
          });
  };
}

// Channel counts of one square of the transposition, several, and ragged ones; all six ways to be called;
// doubled or not, one by one or in groups.
const std::vector<ConvCase> kCases = {{{1, 1, 1, 1}, true, 0},
                                      {{5, 7, 16, 8}, true, 1},
                                      {{4, 6, 8, 16, 3, true}, false, 2},
                                      {{3, 5, 20, 33, 3, true}, true, 2},
                                      {{7, 5, 40, 64, 1}, true, 2},
                                      {{6, 4, 32, 96, 1}, false, 1},
                                      {{5, 3, 48, 72}, false, 0},
                                      {{5, 7, 24, 3}, true, 0},
                                      {{1, 129, 77, 64}, true, 1},
                                      {{257, 1, 5, 7, 3, true}, false, 0},
                                      {{2, 3, 16, 24, 3, true}, true, 1, 1}};

TEST_CASE("conv2d in steps around a plain convolution") {
  for_each_type([&]<class T>() {
    for (const ConvCase& c : kCases) {
      const ConvProblem<T> made(c, true);
      on_every_device([&](DeviceSession& session, const TestKernels&) {
        with_context(made, [&](const ConvProblem<T>& problem) {
          CHECK(problem.excess_of(session, steps_of<T>(session)) <= 1);
        });
      });
    }
  });
}

TEST_CASE("conv2d in steps: more pixels than the doubling has threads") {
  DeviceSession session(make_simt_device({}), 2);
  const ConvProblem<float> problem({{517, 509, 1, 1, 3, true}, false, 0}, true);
  CHECK(problem.excess_of(session, steps_of<float>(session)) <= 1);
}

#ifdef WD_CUDA
template <class T>
void check_cudnn(DeviceSession& session) {
  const OpsOf<T>* ops = nullptr;
  try {
    ops = &cudnn_ops<T>();
  } catch (const Error& error) {
    MESSAGE(error.what());
    return;
  }
  std::vector<ConvCase> cases = kCases;
  cases.insert(cases.end(), {{{64, 64, 384, 384}, true, 1}, {{33, 65, 192, 96, 3, true}, false, 0}});
  for (const ConvCase& c : cases)
    with_context(ConvProblem<T>(c, true), [&](const ConvProblem<T>& problem) {
      CHECK(problem.excess_of(session, ops->conv2d_forward) <= 1);
      CHECK(problem.excess_of(session, ops->conv2d_forward) <= 1);  // with the plan of the first
    });
}

TEST_CASE("conv2d by cuDNN, on a GPU") {
  if (cuda_device_count() == 0) return;
  DeviceSession session(make_cuda_device(0), 1, false);
  for_each_type([&]<class T>() { check_cudnn<T>(session); });
}
#endif

}  // namespace
}  // namespace wandistill::simt_test
