// Linear layers by the library, with our column sums.
#include "bench/gpu/device_bench.h"

namespace wandistill::bench {
namespace {

/// x [m, k] through a linear layer to [m, n], and back.
void linear(DeviceBench& bench, int64_t m, int64_t n, int64_t k) {
  const Compute& compute = bench.compute;
  const OpsOf<bf16>& ops = *compute.bf16_ops;
  const OpBuffer<bf16> x = bench.input<bf16>(m * k, 1), weight = bench.input<bf16>(n * k, 2),
                       bias = bench.input<bf16>(n, 3), dy = bench.input<bf16>(m * n, 4);
  OpBuffer<bf16> y = bench.output<bf16>(m * n), act = bench.output<bf16>(m * n),
                 dx = bench.output<bf16>(m * k);
  OpBuffer<float> dweight = bench.output<float>(n * k), dbias = bench.output<float>(n);
  const std::string text = cat(m, " x ", k, " -> ", n);
  const double flop = 2 * double(m) * double(n) * double(k);
  const int64_t bytes = kHalf * (m * k + n * k + n + m * n);
  bench.compute_row("linear", text, flop, bytes, [&] {
    ops.linear_forward(m, n, k, x.data(), weight.data(), bias.data(), y.data(), compute);
  });
  bench.compute_row("linear and GELU", text, flop, bytes + kHalf * m * n, [&] {
    ops.linear_gelu_forward(m, n, k, x.data(), weight.data(), bias.data(), y.data(), act.data(), compute);
  });
  // Gradients of weight and bias are added to.
  bench.compute_row("linear backward", text, 2 * flop,
                    kHalf * (2 * m * k + n * k + m * n) + 2 * kFloat * (n * k + n), [&] {
                      ops.linear_backward(m, n, k, x.data(), weight.data(), dy.data(), dx.data(), false,
                                          dweight.data(), true, dbias.data(), compute);
                    });
  bench.memory_row("column sums", cat(m, " x ", n), kHalf * m * n,
                   [&] { ops.add_column_sums(m, n, dy.data(), dbias.data(), compute); });
}

}  // namespace

void bench_products(DeviceBench& bench) {
  if (bench.tiny) return linear(bench, 24, 16, 8);
  linear(bench, 16384, 1024, 1024);
  linear(bench, 16384, 4096, 1024);
  linear(bench, 4096, 13824, 5120);
}

}  // namespace wandistill::bench
