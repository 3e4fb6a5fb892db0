// Element-wise ops of the transformer, its two ends, and the optimizer.
#include "bench/gpu/device_bench.h"

namespace wandistill::bench {
namespace {

void activations(DeviceBench& bench, int64_t n) {
  const Compute& compute = bench.compute;
  const OpsOf<bf16>& ops = *compute.bf16_ops;
  const OpBuffer<bf16> x = bench.input<bf16>(n, 1), dy = bench.input<bf16>(n, 2);
  OpBuffer<bf16> y = bench.output<bf16>(n);
  OpBuffer<float> wide = bench.output<float>(n);
  const std::string text = cat(n);
  const auto both = [&](const std::string& name, ActivationForward<bf16>* forward,
                        ActivationBackward<bf16>* backward) {
    bench.memory_row(name, text, 2 * kHalf * n, [&] { forward(n, x.data(), y.data(), compute); });
    bench.memory_row(name + " backward", text, 3 * kHalf * n,
                     [&] { backward(n, x.data(), dy.data(), y.data(), compute); });
  };
  both("GELU", ops.gelu_forward, ops.gelu_backward);
  both("SiLU", ops.silu_forward, ops.silu_backward);
  bench.memory_row("widen", text, (kHalf + kFloat) * n,
                   [&] { ops.widen(n, x.data(), wide.data(), compute); });
  bench.memory_row("narrow", text, (kHalf + kFloat) * n,
                   [&] { ops.narrow(n, wide.data(), y.data(), compute); });
}

/// Of a student of C channels with latents [B, 16, h, w].
void ends(DeviceBench& bench, int64_t B, int64_t h, int64_t w, int64_t C) {
  const Compute& compute = bench.compute;
  const OpsOf<bf16>& ops = *compute.bf16_ops;
  const PatchShape shape{B, 16, h, w, 2, 2};
  const int64_t n = B * 16 * h * w;
  const OpBuffer<float> latents = bench.input<float>(n, 1), timesteps = bench.input<float>(B, 2, 1000),
                        target = bench.input<float>(n, 3), weight = bench.input<float>(B, 4);
  const OpBuffer<bf16> table = bench.input<bf16>(6 * C, 5), shared = bench.input<bf16>(6 * B * C, 6);
  OpBuffer<bf16> rows = bench.output<bf16>(n), embedding = bench.output<bf16>(B * 256),
                 modulation = bench.output<bf16>(6 * B * C);
  OpBuffer<float> out = bench.output<float>(n), dout = bench.output<float>(6 * B * C),
                  dtable = bench.output<float>(6 * C), dshared = bench.output<float>(6 * B * C);
  OpBuffer<double> errors = bench.output<double>(B);
  const std::string text = cat(B, " x 16 x ", h, " x ", w), modulated = cat(B, " x 6 x ", C);
  bench.memory_row("patchify", text, (kFloat + kHalf) * n,
                   [&] { ops.patchify(shape, latents.data(), rows.data(), compute); });
  bench.memory_row("unpatchify", text, (kFloat + kHalf) * n,
                   [&] { ops.unpatchify(shape, rows.data(), out.data(), compute); });
  bench.memory_row("unpatchify backward", text, (kFloat + kHalf) * n,
                   [&] { ops.unpatchify_backward(shape, latents.data(), rows.data(), compute); });
  bench.memory_row("timestep embedding", cat(B, " x 256"), kHalf * B * 256,
                   [&] { ops.timestep_embedding(B, 256, timesteps.data(), embedding.data(), compute); });
  bench.memory_row("modulation", modulated, 2 * kHalf * 6 * B * C, [&] {
    ops.modulation_forward(B, 6 * C, 6 * C, table.data(), shared.data(), modulation.data(), compute);
  });
  bench.memory_row("modulation backward", modulated, 3 * kFloat * 6 * B * C, [&] {
    ops.modulation_backward(B, 6 * C, 6 * C, dout.data(), dtable.data(), dshared.data(), compute);
  });
  bench.memory_row("weighted MSE", text, 3 * kFloat * n, [&] {
    ops.weighted_mse(B, n / B, latents.data(), target.data(), weight.data(), errors.data(), out.data(),
                     compute);
  });
}

/// Over n weights with their average and bf16 copy.
void optimizer(DeviceBench& bench, int64_t n) {
  const Compute& compute = bench.compute;
  const OpsOf<bf16>& ops = *compute.bf16_ops;
  const OpBuffer<float> gradient = bench.input<float>(n, 1);
  OpBuffer<float> weight = bench.input<float>(n, 2), m = bench.output<float>(n), v = bench.output<float>(n),
                  ema = bench.output<float>(n);
  OpBuffer<bf16> rounded = bench.output<bf16>(n);
  OpBuffer<double> squares = bench.output<double>(1);
  OpBuffer<UpdateState> state(compute, 1);
  const UpdateState fresh;
  upload(compute, state.data(), &fresh, 1);
  const AdamWStep step{.lr = 1e-4f,
                       .beta1 = 0.9f,
                       .beta2 = 0.95f,
                       .eps = 1e-8f,
                       .weight_decay = 0.01f,
                       .clip = 1,
                       .ema_decay = 0.999f};
  const std::string text = cat(n);
  bench.memory_row("squared norm", text, kFloat * n,
                   [&] { ops.squared_norm(n, gradient.data(), squares.data(), compute); });
  bench.memory_row("update plan", "1", int64_t{sizeof(UpdateState)},
                   [&] { ops.plan_update(step, squares.data(), state.data(), compute); });
  // Reads gradient, weight, m, v and average, and writes the last four and the copy.
  bench.memory_row("AdamW", text, (9 * kFloat + kHalf) * n, [&] {
    ops.adamw(step, state.data(), n, gradient.data(), weight.data(), m.data(), v.data(), ema.data(),
              rounded.data(), compute);
  });
}

}  // namespace

void bench_elementwise(DeviceBench& bench) {
  if (bench.tiny) {
    activations(bench, 100);
    ends(bench, 2, 4, 6, 16);
    optimizer(bench, 100);
    return;
  }
  activations(bench, int64_t{4} * 4096 * 4096);
  ends(bench, 4, 128, 128, 1024);
  optimizer(bench, 300'000'000);
}

}  // namespace wandistill::bench
