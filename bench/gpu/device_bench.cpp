#include "bench/gpu/device_bench.h"

#include <cmath>

namespace wandistill::bench {

DeviceBench::DeviceBench(const ComputeDevice& device, bool tiny)
    : compute(device.compute()),
      tiny(tiny),
      report("gpu_bench", device.name() + (tiny ? ", tiny sizes" : ""),
             {{"device", device.name()}, {"tiny", tiny}}),
      stopwatch_(make_stopwatch(compute)) {
  measure_ceilings();
}

Timing DeviceBench::time(const Work& work) const {
  constexpr double kRunSeconds = 2e-3, kSeconds = 0.3;
  const auto seconds = [&](int64_t calls) {
    stopwatch_->start();
    for (int64_t i = 0; i < calls; ++i) work();
    stopwatch_->stop();
    return stopwatch_->seconds() / double(calls);
  };
  if (tiny) return summary({seconds(1)});
  const double first = std::min(seconds(1), seconds(1));
  const int64_t calls = std::clamp<int64_t>(int64_t(kRunSeconds / std::max(first, 1e-9)), 1, 1000);
  std::vector<double> times;
  for (double spent = 0; times.size() < 10 || (spent < kSeconds && times.size() < 200);
       spent += times.back() * double(calls))
    times.push_back(seconds(calls));
  return summary(std::move(times));
}

void DeviceBench::compute_row(const std::string& name, const std::string& shape, double flop, int64_t bytes,
                              const Work& work, const Json& details) {
  report.add({.name = name,
              .shape = shape,
              .time = time(work),
              .work = 1e-12 * flop,
              .unit = "TFLOP/s",
              .bytes = bytes,
              .ceiling = matmul_rate(),
              .details = details});
}

void DeviceBench::memory_row(const std::string& name, const std::string& shape, int64_t bytes,
                             const Work& work) {
  const Timing timing = time(work);
  report.add({.name = name,
              .shape = shape,
              .time = timing,
              .work = 1e-9 * double(bytes),
              .unit = "GB/s",
              .ceiling = 1e-9 * double(bytes) / time_copy(bytes).median});
}

Timing DeviceBench::time_copy(int64_t bytes) const {
  const int64_t half = std::max<int64_t>(bytes / 2, 1);
  const OpBuffer<uint8_t> from = output<uint8_t>(half);
  OpBuffer<uint8_t> to(compute, half);
  return time([&] { copy(compute, to.data(), from.data(), half); });
}

void DeviceBench::measure_ceilings() {
  const int64_t bytes = tiny ? 1 << 12 : int64_t{2} << 30;
  report.add({.name = "copy (ceiling)",
              .shape = cat(bytes >> 10, " KiB"),
              .time = time_copy(bytes),
              .work = 1e-9 * double(bytes),
              .unit = "GB/s"});
  const auto product = [&]<class T>(const char* type, int64_t n) {
    const OpBuffer<T> a = input<T>(n * n, 1), b = input<T>(n * n, 2);
    OpBuffer<T> c = output<T>(n * n);
    const MatmulShape shape = MatmulShape::dense(n, n, n, false, true);
    const Timing timing =
        time([&] { compute.table<T>().matmul(shape, a.data(), b.data(), c.data(), compute); });
    const double tflop = 2e-12 * double(n) * double(n) * double(n);
    report.add({.name = cat("matmul ", type, " (ceiling)"),
                .shape = cat(n, " x ", n, " x ", n),
                .time = timing,
                .work = tflop,
                .unit = "TFLOP/s",
                .bytes = 3 * n * n * int64_t{sizeof(T)}});
    return tflop / timing.median;
  };
  for (const int64_t n : tiny ? std::vector<int64_t>{32} : std::vector<int64_t>{4096, 8192})
    matmul_rate_ = std::max(matmul_rate_, product.template operator()<bf16>("bf16", n));
  product.template operator()<float>("float", tiny ? 32 : 4096);
}

template <class T>
OpBuffer<T> DeviceBench::input(int64_t n, uint32_t seed, double amplitude) const {
  Buffer<float> values(n);
#pragma omp parallel for
  for (int64_t i = 0; i < n; ++i) values[i] = float(amplitude * formula_number(seed, i));
  return place<T>(compute, std::move(values));
}
template OpBuffer<float> DeviceBench::input(int64_t, uint32_t, double) const;
template OpBuffer<bf16> DeviceBench::input(int64_t, uint32_t, double) const;

template <class T>
OpBuffer<T> DeviceBench::output(int64_t n) const {
  OpBuffer<T> made(compute, n);
  fill_zero(compute, made.data(), n);
  return made;
}
template OpBuffer<float> DeviceBench::output(int64_t) const;
template OpBuffer<bf16> DeviceBench::output(int64_t) const;
template OpBuffer<double> DeviceBench::output(int64_t) const;
template OpBuffer<uint8_t> DeviceBench::output(int64_t) const;
template OpBuffer<int32_t> DeviceBench::output(int64_t) const;

template <class T>
std::vector<float> DeviceBench::sample(const T* data, int64_t n) const {
  constexpr int64_t kCount = 64;
  OpBuffer<T> chosen(compute, kCount);
  for (int64_t k = 0; k < kCount; ++k)
    copy<T>(compute, chosen.data() + k, data + k * (n - 1) / (kCount - 1), 1);
  std::vector<T> values(kCount);
  download(compute, values.data(), chosen.data(), kCount);
  std::vector<float> out;
  for (const T v : values) {
    if constexpr (std::is_same_v<T, bf16>)
      out.push_back(to_float(v));
    else
      out.push_back(v);
  }
  return out;
}
template std::vector<float> DeviceBench::sample(const float*, int64_t) const;
template std::vector<float> DeviceBench::sample(const bf16*, int64_t) const;

double sample_difference(const std::vector<float>& a, const std::vector<float>& b) {
  double largest = 0, squares = 0;
  for (size_t i = 0; i < b.size(); ++i) {
    const double d = std::abs(double(a.at(i)) - b[i]);
    if (!(d <= largest)) largest = d;
    squares += double(b[i]) * b[i];
  }
  return largest / std::sqrt(squares / double(b.size()));
}

}  // namespace wandistill::bench
