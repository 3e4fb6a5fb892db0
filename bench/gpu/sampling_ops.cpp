// A denoising step's ops: on the latents of one 1024 x 1024 picture, which stay in the cache, and on as many
// that they do not.
#include "bench/gpu/device_bench.h"

namespace wandistill::bench {
namespace {

void sampling(DeviceBench& bench, int64_t n) {
  const Compute& compute = bench.compute;
  const OpsOf<float>& ops = *compute.ops;
  const OpBuffer<float> cond = bench.input<float>(n, 1), uncond = bench.input<float>(n, 2),
                        older = bench.input<float>(n, 3);
  OpBuffer<float> x = bench.input<float>(n, 4), out = bench.output<float>(n), last = bench.output<float>(n);
  const std::string text = cat(n);
  // x shrinks by every step: it stays finite over thousands of them.
  const DdimCoefficients coefficients = ddim_coefficients({.from = {.alpha = 0.5f, .sigma = 0.5f},
                                                           .to = {.alpha = 0.5f, .sigma = 0.45f},
                                                           .guidance = 4,
                                                           .eta = 1});
  OpBuffer<DdimCoefficients> step(compute, 1);
  upload(compute, step.data(), &coefficients, 1);
  bench.memory_row("DDIM, guided", text, 4 * kFloat * n, [&] {
    ops.ddim_update(n, step.data(), false, cond.data(), uncond.data(), x.data(), compute);
  });
  bench.memory_row("DDIM", text, 3 * kFloat * n,
                   [&] { ops.ddim_update(n, step.data(), false, cond.data(), nullptr, x.data(), compute); });
  bench.memory_row("DDIM with noise", text, 3 * kFloat * n,
                   [&] { ops.ddim_update(n, step.data(), true, cond.data(), nullptr, x.data(), compute); });
  const UnipcStep::Combination mixed = {.state = 0.5f, .x0 = 0.3f, .history = {0.2f}};
  const UnipcStep unipc = {
      .sigma = 0.5f, .history = 1, .correct = true, .corrector = mixed, .predictor = mixed};
  const float* history[] = {older.data()};
  bench.memory_row("UniPC", text, 7 * kFloat * n, [&] {
    ops.unipc_update(n, unipc, cond.data(), history, out.data(), last.data(), x.data(), compute);
  });
  bench.memory_row("guidance", text, 3 * kFloat * n,
                   [&] { ops.guidance(n, 4, cond.data(), uncond.data(), out.data(), compute); });
  bench.memory_row("Gaussian noise", text, kFloat * n,
                   [&] { ops.gaussian(1, 2, 0, n, out.data(), compute); });
}

}  // namespace

void bench_sampling_ops(DeviceBench& bench) {
  if (bench.tiny) return sampling(bench, 100);
  sampling(bench, 16 * 128 * 128);
  sampling(bench, int64_t{1} << 26);
}

}  // namespace wandistill::bench
