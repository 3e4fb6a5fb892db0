// The ops that take the time, at the shapes of the embedded student, of a middling one and of the full-size
// one. GFLOP/s are held against a 1024^3 matrix product, GB/s against a copy that moves as many bytes, the
// time against the plain twin (one call of it, where that is at most a second or so).
#include <cmath>
#include <numeric>

#include "bench/ceiling.h"
#include "bench/measure.h"
#include "wandistill/error.h"
#include "wandistill/ops/activation.h"
#include "wandistill/ops/attention.h"
#include "wandistill/ops/conv2d.h"
#include "wandistill/ops/layer_norm.h"
#include "wandistill/ops/matmul.h"

namespace wandistill::bench {
namespace {

constexpr double kTwinGflop = 0.6;  // above that much work the twin is not run

struct Bench {
  Report& report;
  Queue queue;
  double peak;  // GFLOP/s

  /// floats: of all operands, each once.
  void compute(const std::string& name, const std::string& shape, double gflop, int64_t floats,
               const std::function<void()>& fast, const std::function<void()>& twin) const {
    Row row{.name = name,
            .shape = shape,
            .time = measure(fast),
            .work = gflop,
            .bytes = 4 * floats,
            .ceiling = peak};
    if (gflop <= kTwinGflop) row.twin_seconds = seconds_of(twin, 1);
    report.add(row);
  }
  void memory(const std::string& name, const std::string& shape, int64_t bytes,
              const std::function<void()>& fast, const std::function<void()>& twin) const {
    report.add({.name = name,
                .shape = shape,
                .time = measure(fast),
                .work = double(bytes) * 1e-9,
                .unit = "GB/s",
                .ceiling = copy_ceiling(bytes, queue),
                .twin_seconds = seconds_of(twin, 1)});
  }
};

/// x [m, k] through a linear layer to [m, n], and back.
void linear(const Bench& bench, int64_t m, int64_t n, int64_t k) {
  const Buffer<float> x = gaussian(m * k, 1), weight = gaussian(n * k, 2), bias = gaussian(n, 3),
                      dy = gaussian(m * n, 4);
  Buffer<float> y(m * n), dx(m * k), dweight(n * k), dbias(n);
  const std::string shape = cat(m, " x ", k, " -> ", n);
  const double gflop = 2e-9 * double(m) * double(n) * double(k);
  const auto forward = [&](LinearForward<float>* op) {
    return [&, op] { op(m, n, k, x.data(), weight.data(), bias.data(), y.data(), bench.queue); };
  };
  const auto backward = [&](LinearBackward<float>* op) {
    return [&, op] {
      op(m, n, k, x.data(), weight.data(), dy.data(), dx.data(), false, dweight.data(), false, dbias.data(),
         bench.queue);
    };
  };
  bench.compute("linear", shape, gflop, m * k + n * k + n + m * n, forward(cpu::linear_forward),
                forward(ref::linear_forward));
  bench.compute("linear backward", shape, 2 * gflop, 2 * m * k + 2 * n * k + m * n,
                backward(cpu::linear_backward), backward(ref::linear_backward));
}

/// Self-attention of B samples of L tokens. Forward is two products of L x L x D per head, backward five.
void attention(const Bench& bench, int64_t B, int64_t L, int64_t H, int64_t D) {
  const int64_t n = B * L * H * D;
  const Buffer<float> q = gaussian(n, 1), k = gaussian(n, 2), v = gaussian(n, 3), dout = gaussian(n, 4);
  Buffer<float> out(n), log_sum_exp(B * H * L), dq(n), dk(n), dv(n);
  std::vector<int64_t> offsets(size_t(B + 1), L);
  std::exclusive_scan(offsets.begin(), offsets.end(), offsets.begin(), int64_t{0});
  const AttentionShape shape{.batch = B,
                             .queries = L,
                             .heads = H,
                             .head_dim = D,
                             .max_keys = L,
                             .key_offsets = offsets.data(),
                             .scale = 1 / std::sqrt(float(D))};
  const std::string text = cat("B ", B, ", L ", L, ", H ", H, ", D ", D);
  const double product = 2e-9 * double(B * H * D) * double(L * L);
  const auto forward = [&](AttentionForward<float>* op) {
    return [&, op] { op(shape, q.data(), k.data(), v.data(), out.data(), log_sum_exp.data(), bench.queue); };
  };
  const auto backward = [&](AttentionBackward<float>* op) {
    return [&, op] {
      op(shape, q.data(), k.data(), v.data(), out.data(), log_sum_exp.data(), dout.data(), dq.data(),
         dk.data(), dv.data(), bench.queue);
    };
  };
  bench.compute("attention", text, 2 * product, 4 * n, forward(cpu::attention_forward),
                forward(ref::attention_forward));
  bench.compute("attention backward", text, 5 * product, 8 * n, backward(cpu::attention_backward),
                backward(ref::attention_backward));
}

/// AdaLN of [B, L, C]: x read, y written; backward reads x and dy and updates dx.
void layer_norm(const Bench& bench, int64_t B, int64_t L, int64_t C) {
  const int64_t n = B * L * C;
  const LayerNormShape shape{.batch = B, .tokens = L, .channels = C, .stride = C, .offset = 1, .eps = 1e-6f};
  const Buffer<float> x = gaussian(n, 1), scale = gaussian(B * C, 2), shift = gaussian(B * C, 3),
                      dy = gaussian(n, 4);
  Buffer<float> y(n), mean(B * L), rstd(B * L), dx = Buffer<float>::zeros(n),
                                                dscale = Buffer<float>::zeros(B * C),
                                                dshift = Buffer<float>::zeros(B * C);
  const std::string text = cat("B ", B, ", L ", L, ", C ", C);
  const auto forward = [&](LayerNormForward<float>* op) {
    return [&, op] {
      op(shape, x.data(), scale.data(), shift.data(), y.data(), mean.data(), rstd.data(), bench.queue);
    };
  };
  const auto backward = [&](LayerNormBackward<float>* op) {
    return [&, op] {
      op(shape, x.data(), scale.data(), mean.data(), rstd.data(), dy.data(), dx.data(), dscale.data(),
         dshift.data(), bench.queue);
    };
  };
  bench.memory("layer norm", text, 2 * 4 * n, forward(cpu::layer_norm_forward),
               forward(ref::layer_norm_forward));
  bench.memory("layer norm backward", text, 4 * 4 * n, backward(cpu::layer_norm_backward),
               backward(ref::layer_norm_backward));
}

void gelu(const Bench& bench, int64_t rows, int64_t F) {
  const int64_t n = rows * F;
  const Buffer<float> x = gaussian(n, 1), dy = gaussian(n, 2);
  Buffer<float> y(n), dx(n);
  const std::string text = cat(rows, " x ", F);
  const auto forward = [&](ActivationForward<float>* op) {
    return [&, op] { op(n, x.data(), y.data(), bench.queue); };
  };
  const auto backward = [&](ActivationBackward<float>* op) {
    return [&, op] { op(n, x.data(), dy.data(), dx.data(), bench.queue); };
  };
  bench.memory("GELU", text, 2 * 4 * n, forward(cpu::gelu_forward), forward(ref::gelu_forward));
  bench.memory("GELU backward", text, 3 * 4 * n, backward(cpu::gelu_backward), backward(ref::gelu_backward));
}

/// GFLOP by the formula of a plain convolution. A kernel that folds the doubling of the picture into its taps
/// does fewer, and so may exceed the ceiling.
void conv2d(const Bench& bench, const Conv2dShape& shape) {
  const int64_t pixels = shape.out_height() * shape.out_width(), taps = shape.kernel * shape.kernel;
  const Buffer<float> x = gaussian(shape.height * shape.width * shape.c_in, 1),
                      weight = gaussian(taps * shape.c_in * shape.c_out, 2), bias = gaussian(shape.c_out, 3);
  Buffer<float> y(pixels * shape.c_out);
  const std::string text = cat(shape.height, " x ", shape.width, ", ", shape.c_in, " -> ", shape.c_out,
                               shape.upsample ? ", doubled" : "");
  const auto forward = [&](Conv2dForward<float>* op) {
    return
        [&, op] { op(shape, x.data(), nullptr, weight.data(), bias.data(), nullptr, y.data(), bench.queue); };
  };
  bench.compute(cat("conv2d ", shape.kernel, " x ", shape.kernel), text,
                2e-9 * double(pixels * taps) * double(shape.c_in * shape.c_out),
                x.size() + weight.size() + y.size(), forward(cpu::conv2d_forward),
                forward(ref::conv2d_forward));
}

void run() {
  const int threads = bench_threads();
  Report report("ops", threads);
  const Queue queue{threads};
  const Bench bench{report, queue, matmul_ceiling(report, queue)};
  // The embedded student (16 samples of 36 tokens, 128 wide), one of 512 (4 of 256), the full size (4096
  // tokens).
  linear(bench, 576, 128, 128);
  linear(bench, 576, 384, 128);
  linear(bench, 1024, 512, 512);
  linear(bench, 1024, 2048, 512);
  linear(bench, 4096, 1024, 1024);
  for (const int64_t head_dim : {64, 128}) {
    attention(bench, 16, 36, 2, head_dim);
    attention(bench, 4, 256, 8, head_dim);
    attention(bench, 1, 1024, 8, head_dim);
  }
  layer_norm(bench, 16, 36, 128);
  layer_norm(bench, 4, 256, 512);
  layer_norm(bench, 1, 4096, 1024);
  gelu(bench, 576, 384);
  gelu(bench, 1024, 2048);
  gelu(bench, 4096, 4096);
  // Levels of a VAE decoder: of the embedded teacher (16 channels, 96 x 96 pixels), of the real one (96, 256
  // x 256).
  conv2d(bench, {.height = 12, .width = 12, .c_in = 64, .c_out = 64});
  conv2d(bench, {.height = 48, .width = 48, .c_in = 32, .c_out = 16, .upsample = true});
  conv2d(bench, {.height = 96, .width = 96, .c_in = 16, .c_out = 16});
  conv2d(bench, {.height = 32, .width = 32, .c_in = 384, .c_out = 384});
  conv2d(bench, {.height = 256, .width = 256, .c_in = 96, .c_out = 96});
}

}  // namespace
}  // namespace wandistill::bench

int main() {
  wandistill::bench::run();
}
