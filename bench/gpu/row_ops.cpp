// Norms and what else works on whole rows of channels. Bytes: each operand once for every time that it must
// be read or written; of what is per row or per channel only, none.
#include "bench/gpu/device_bench.h"

namespace wandistill::bench {
namespace {

void layer_norm(DeviceBench& bench, int64_t B, int64_t L, int64_t C) {
  const Compute& compute = bench.compute;
  const OpsOf<bf16>& ops = *compute.bf16_ops;
  const int64_t n = B * L * C;
  const LayerNormShape shape{B, L, C, 6 * C, 1, 1e-6f};
  const OpBuffer<bf16> x = bench.input<bf16>(n, 1), table = bench.input<bf16>(6 * B * C, 2),
                       dy = bench.input<bf16>(n, 3);
  OpBuffer<bf16> y = bench.output<bf16>(n), dx = bench.output<bf16>(n);
  OpBuffer<float> mean = bench.output<float>(B * L), rstd = bench.output<float>(B * L),
                  dtable = bench.output<float>(6 * B * C);
  const std::string text = cat(B, " x ", L, " x ", C);
  bench.memory_row("layer norm", text, 2 * kHalf * n, [&] {
    ops.layer_norm_forward(shape, x.data(), table.data() + C, table.data(), y.data(), mean.data(),
                           rstd.data(), compute);
  });
  bench.memory_row("layer norm backward", text, 4 * kHalf * n, [&] {
    ops.layer_norm_backward(shape, x.data(), table.data() + C, mean.data(), rstd.data(), dy.data(), dx.data(),
                            dtable.data() + C, dtable.data(), compute);
  });
  bench.memory_row("gated residual", text, 3 * kHalf * n, [&] {
    ops.gated_residual_forward(B, L, C, 6 * C, x.data(), dy.data(), table.data(), y.data(), compute);
  });
  bench.memory_row("gated residual backward", text, 3 * kHalf * n, [&] {
    ops.gated_residual_backward(B, L, C, 6 * C, y.data(), table.data(), dy.data(), dx.data(), dtable.data(),
                                compute);
  });
}

void qk_norm(DeviceBench& bench, int64_t B, int64_t L, int64_t H, int64_t D) {
  const Compute& compute = bench.compute;
  const OpsOf<bf16>& ops = *compute.bf16_ops;
  const int64_t C = H * D, n = B * L * C;
  const QkNormShape shape{B * L, H, D, L, 1e-6f};
  const OpBuffer<bf16> x = bench.input<bf16>(n, 1), weight = bench.input<bf16>(C, 2),
                       dy = bench.input<bf16>(n, 3);
  const OpBuffer<float> cos = bench.input<float>(L * D / 2, 4), sin = bench.input<float>(L * D / 2, 5);
  OpBuffer<bf16> y = bench.output<bf16>(n), dx = bench.output<bf16>(n);
  OpBuffer<float> rstd = bench.output<float>(B * L), dweight = bench.output<float>(C);
  const std::string text = cat(B, " x ", L, " x ", H, " x ", D);
  bench.memory_row("QK norm and RoPE", text, 2 * kHalf * n, [&] {
    ops.qk_norm_rope_forward(shape, x.data(), weight.data(), cos.data(), sin.data(), y.data(), rstd.data(),
                             compute);
  });
  bench.memory_row("QK norm, RoPE backward", text, 3 * kHalf * n, [&] {
    ops.qk_norm_rope_backward(shape, x.data(), weight.data(), cos.data(), sin.data(), rstd.data(), dy.data(),
                              dx.data(), dweight.data(), compute);
  });
}

/// UMT5's, of one prompt of n tokens.
void text_encoder(DeviceBench& bench, int64_t n, int64_t C, int64_t F, int64_t H, int64_t D) {
  const Compute& compute = bench.compute;
  const OpsOf<bf16>& ops = *compute.bf16_ops;
  const OpBuffer<bf16> x = bench.input<bf16>(n * C, 1), weight = bench.input<bf16>(C, 2),
                       gate = bench.input<bf16>(n * F, 3), value = bench.input<bf16>(n * F, 4),
                       q = bench.input<bf16>(n * H * D, 5), k = bench.input<bf16>(n * H * D, 6),
                       v = bench.input<bf16>(n * H * D, 7);
  const OpBuffer<float> bias = bench.input<float>(H * (2 * n - 1), 8);
  OpBuffer<bf16> y = bench.output<bf16>(n * std::max({C, F, H * D}));
  bench.memory_row("T5 norm", cat(n, " x ", C), 2 * kHalf * n * C,
                   [&] { ops.rms_norm_forward(n, C, 1e-6f, x.data(), weight.data(), y.data(), compute); });
  bench.memory_row("gated GELU", cat(n, " x ", F), 3 * kHalf * n * F,
                   [&] { ops.gelu_gated_forward(n * F, gate.data(), value.data(), y.data(), compute); });
  const AttentionBiasedShape shape{n, n, H, D, 1};
  bench.compute_row("biased attention", cat("L ", n, ", H ", H, ", D ", D), 4 * double(H * D) * double(n * n),
                    kHalf * 4 * n * H * D + kFloat * bias.size(), [&] {
                      ops.attention_biased_forward(shape, q.data(), k.data(), v.data(), bias.data(), y.data(),
                                                   compute);
                    });
}

}  // namespace

void bench_row_ops(DeviceBench& bench) {
  if (bench.tiny) {
    layer_norm(bench, 2, 5, 24);
    qk_norm(bench, 1, 5, 2, 16);
    text_encoder(bench, 7, 16, 24, 2, 16);
    return;
  }
  layer_norm(bench, 4, 4096, 1024);
  layer_norm(bench, 1, 4096, 5120);
  qk_norm(bench, 4, 4096, 8, 128);
  qk_norm(bench, 1, 4096, 40, 128);
  text_encoder(bench, 512, 4096, 10240, 64, 64);
}

}  // namespace wandistill::bench
