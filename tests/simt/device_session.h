// Devices for tests, and how tensors get there and back.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <iterator>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "tests/simt/hopper_kernels.h"
#include "tests/simt/test_kernels.h"
#include "wandistill/gpu.h"
#include "wandistill/kernel_ops.h"
#include "wandistill/queue.h"

namespace wandistill::simt_test {

/// A device with one stream.
struct DeviceSession {
  explicit DeviceSession(std::unique_ptr<Device> on, int threads = 1, bool simt = true)
      : simt(simt), device(std::move(on)), stream(device->make_stream()), queue{threads, stream.get()} {}

  /// The kernels for this device; T is float or bf16.
  template <class T>
  const OpsOf<T>& ops() const {
#ifdef WD_CUDA
    if (!simt) return cuda::kernel_ops<T>();
#endif
    return simt::kernel_ops<T>();
  }

  template <class T>
  DeviceBuffer<T> upload(const std::vector<T>& values) {
    DeviceBuffer<T> buffer(*stream, static_cast<int64_t>(values.size()));
    PinnedBuffer<T> pinned(*device, buffer.size());
    std::copy(values.begin(), values.end(), pinned.data());
    copy(*stream, buffer.data(), pinned.data(), buffer.size());
    stream->synchronize();
    return buffer;
  }
  template <class T>
  std::vector<T> download(const DeviceBuffer<T>& buffer) {
    PinnedBuffer<T> pinned(*device, buffer.size());
    copy(*stream, pinned.data(), buffer.data(), buffer.size());
    stream->synchronize();
    return std::vector<T>(pinned.data(), pinned.data() + pinned.size());
  }
  /// Of 0xFF bytes: NaN, -1.
  template <class T>
  DeviceBuffer<T> buffer(int64_t count) {
    DeviceBuffer<T> made(*stream, count);
    stream->fill(made.data(), 0xFF, count * static_cast<int64_t>(sizeof(T)));
    return made;
  }

  bool simt;
  std::unique_ptr<Device> device;
  std::unique_ptr<Stream> stream;
  Queue queue;
};

struct SimtCase {
  const char* name;
  SimtOptions options;
  int threads;
};
/// The orders, with what else can differ.
inline const SimtCase kSimtCases[] = {{"forward", {SimtOrder::kForward, 1, false}, 1},
                                      {"reverse", {SimtOrder::kReverse, 1, true}, 2},
                                      {"random", {SimtOrder::kRandom, 7, false}, 2}};

/// body(session, kernels) on the SIMT device in every order, and on a GPU where there is one: kernels that
/// any GPU runs.
template <class Body>
void on_every_device(Body body) {
  for (const SimtCase& c : kSimtCases) {
    CAPTURE(c.name);
    DeviceSession session(make_simt_device(c.options), c.threads);
    body(session, simt::kTestKernels);
  }
#ifdef WD_CUDA
  if (cuda_device_count() > 0) {
    DeviceSession session(make_cuda_device(0, 80), 1, false);
    CAPTURE(session.device->name());
    body(session, cuda::kTestKernels);
  }
#endif
}

/// The same with kernels for Hopper, and on a GPU if it is one.
template <class Body>
void on_hopper(Body body) {
  for (const SimtCase& c : kSimtCases) {
    CAPTURE(c.name);
    SimtOptions options = c.options;
    options.compute_capability = 90;
    DeviceSession session(make_simt_device(options), c.threads);
    body(session, simt::kHopperKernels);
  }
#ifdef WD_CUDA
  if (cuda_device_count() > 0) {
    DeviceSession session(make_cuda_device(0), 1, false);
    CAPTURE(session.device->name());
    if (session.device->compute_capability() == 90) body(session, cuda::kHopperKernels);
  }
#endif
}

/// What a kernel's cases contain, in one dimension or another: one element, fewer than a warp's, exact
/// multiples, ragged, three tiles and more.
inline constexpr int64_t kSizes[] = {1, 5, 7, 64, 77, 129, 257};

inline std::vector<int64_t> sizes_and(std::initializer_list<int64_t> more) {
  std::vector<int64_t> sizes(std::begin(kSizes), std::end(kSizes));
  sizes.insert(sizes.end(), more);
  return sizes;
}

inline std::vector<float> normal(int64_t n, uint32_t seed) {
  std::mt19937 engine(seed);
  std::normal_distribution<float> gauss;
  std::vector<float> x(static_cast<size_t>(n));
  for (float& v : x) v = gauss(engine);
  return x;
}

/// The largest difference; NaN if there is one anywhere.
inline double difference(const std::vector<float>& a, const std::vector<float>& b) {
  double largest = a.size() == b.size() ? 0 : NAN;
  for (size_t i = 0; i < a.size() && !std::isnan(largest); ++i) {
    const double d = std::abs(double{a[i]} - b[i]);
    if (!(d <= largest)) largest = d;
  }
  return largest;
}

}  // namespace wandistill::simt_test
