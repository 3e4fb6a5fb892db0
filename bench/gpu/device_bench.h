// What the parts of gpu_bench share: the device with its measured ceilings, tensors on it, and the report.
#pragma once

#include <string>
#include <vector>

#include "bench/gpu/formula.h"
#include "bench/gpu/stopwatch.h"
#include "bench/measure.h"
#include "wandistill/half.h"

namespace wandistill::bench {

using Work = std::function<void()>;

constexpr int64_t kHalf = 2, kFloat = 4;  // bytes of an element

class DeviceBench {
 public:
  /// tiny: everything once and on small tensors, to see that it runs.
  DeviceBench(const ComputeDevice& device, bool tiny);

  /// Enqueued work by the device's clock. Two calls unmeasured, then runs of at least 2 ms each: ten or more.
  Timing time(const Work& work) const;
  /// A row held against the matmul rate, and one held against a copy of as many bytes. bytes: inputs, weights
  /// and outputs, each once for every time that it must be read or written. details: for the JSON line.
  void compute_row(const std::string& name, const std::string& shape, double flop, int64_t bytes,
                   const Work& work, const Json& details = Json::object());
  void memory_row(const std::string& name, const std::string& shape, int64_t bytes, const Work& work);
  /// TFLOP/s of the fastest bf16 product.
  double matmul_rate() const { return matmul_rate_; }

  /// n numbers of the formula times `amplitude`.
  template <class T>
  OpBuffer<T> input(int64_t n, uint32_t seed, double amplitude = 1) const;
  /// Zeros.
  template <class T>
  OpBuffer<T> output(int64_t n) const;
  /// 64 of the elements, evenly spaced from the first to the last.
  template <class T>
  std::vector<float> sample(const T* data, int64_t n) const;

  const Compute& compute;
  const bool tiny;
  Report report;

 private:
  void measure_ceilings();
  /// Of so many bytes, read and written together.
  Timing time_copy(int64_t bytes) const;

  std::unique_ptr<Stopwatch> stopwatch_;
  double matmul_rate_ = 0;
};

/// max |a - b| as a share of b's root mean square; NaN if one is not finite.
double sample_difference(const std::vector<float>& a, const std::vector<float>& b);

// The parts.
void bench_attention(DeviceBench& bench);
void bench_products(DeviceBench& bench);
void bench_row_ops(DeviceBench& bench);
void bench_elementwise(DeviceBench& bench);
void bench_sampling_ops(DeviceBench& bench);
void bench_vae_ops(DeviceBench& bench);
void bench_vae_decode(DeviceBench& bench);
void bench_transformer(DeviceBench& bench);

}  // namespace wandistill::bench
