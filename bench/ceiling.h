// What the machine gives at best, measured in the same run as what is held against it.
#pragma once

#include <cstring>

#include "bench/measure.h"
#include "kernels/cpu/parallel.h"
#include "wandistill/converted_weights.h"
#include "wandistill/ops/matmul.h"

namespace wandistill::bench {

/// GFLOP/s of the fastest of many 1024 x 1024 x 1024 matrix products; adds its row.
inline double matmul_ceiling(Report& report, const Queue& queue) {
  constexpr int64_t n = 1024;
  constexpr double gflop = 2e-9 * n * n * n;
  const Buffer<float> a = gaussian(n * n, 1), b = gaussian(n * n, 2);
  Buffer<float> c(n * n);
  const MatmulShape shape = MatmulShape::dense(n, n, n, false, false);
  const Timing time = measure([&] { cpu::matmul(shape, a.data(), b.data(), c.data(), queue); }, 1.0);
  report.add({.name = "matmul (ceiling)", .shape = "1024 x 1024 x 1024", .time = time, .work = gflop});
  return gflop / time.min;
}

/// The same of products of bfloat16, their sums in float32, with the right operand converted before.
inline double matmul_bf16_ceiling(Report& report, Queue queue) {
  constexpr int64_t n = 1024;
  constexpr double gflop = 2e-9 * n * n * n;
  const Buffer<float> a = gaussian(n * n, 1), b = gaussian(n * n, 2);
  Buffer<float> c(n * n);
  ConvertedWeights converted;
  queue.converted = &converted;
  const Timing time =
      measure([&] { cpu_bf16::linear_forward(n, n, n, a.data(), b.data(), nullptr, c.data(), queue); }, 1.0);
  report.add({.name = "matmul bf16 (ceiling)", .shape = "1024 x 1024 x 1024", .time = time, .work = gflop});
  return gflop / time.min;
}

/// GB/s, read and written together, of the fastest copy that moves `bytes` in all: caches count as they do
/// for an op of that size. No row.
inline double copy_ceiling(int64_t bytes, const Queue& queue) {
  const int64_t half = bytes / 2;
  Buffer<char> from = Buffer<char>::zeros(half), to = Buffer<char>::zeros(half);
  const Timing time = measure(
      [&] {
        cpu::parallel_blocks(queue, half, 1 << 18, [&](int64_t begin, int64_t end) {
          std::memcpy(to.data() + begin, from.data() + begin, size_t(end - begin));
        });
      },
      0.2);
  return double(2 * half) * 1e-9 / time.min;
}

}  // namespace wandistill::bench
