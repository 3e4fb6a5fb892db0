// One optimizer step of a student on one rank: forward with the loss, backward, AdamW with the average; no
// MPI. GFLOP counts the matrix products of linear layers and attention, and is held against a 1024^3 product.
#include "bench/ceiling.h"
#include "bench/student.h"
#include "wandistill/error.h"
#include "wandistill/flops.h"
#include "wandistill/student_config.h"

namespace wandistill::bench {
namespace {

constexpr int64_t kPromptTokens = 20;

void student_step(Report& report, const Queue& queue, double peak, const std::string& name,
                  const WanConfig& config, int64_t batch, int64_t h, int64_t w) {
  const int64_t n = ParameterLayout(config).total();
  Student student(config, gaussian(n, 3, 0.02f), StudentBatch::random(config, batch, h, w, kPromptTokens),
                  true, queue);
  const int64_t tokens = config.tokens(h, w), rows = text_rows(kPromptTokens);
  const std::string shape =
      cat(config.hidden(), " x ", config.layers, ", B ", batch, ", L ", tokens, ", ", n / 1000, " K");
  const double B = double(batch), forward = 1e-9 * wan_forward_flops(config, tokens, rows),
               backward = 1e-9 * wan_backward_flops(config, tokens, rows);
  constexpr double kSeconds = 1.5;
  // floats: those of the weights, gradients and the optimizer's state that must be read or written.
  const auto compute = [&](const std::string& part, double gflop, int64_t floats,
                           const std::function<void()>& work) {
    const Timing time = measure(work, kSeconds);
    report.add({.name = name + part,
                .shape = shape,
                .time = time,
                .work = B * gflop,
                .bytes = 4 * floats,
                .ceiling = peak});
    return time;
  };
  compute(" forward", forward, n, [&] { student.forward(); });
  compute(" backward", backward, 2 * n, [&] { student.backward(); });
  // AdamW reads gradient, weight, m, v and average, and writes the last four.
  const int64_t bytes = 9 * 4 * n;
  report.add({.name = name + " AdamW",
              .shape = shape,
              .time = measure([&] { student.update(); }, kSeconds),
              .work = double(bytes) * 1e-9,
              .unit = "GB/s",
              .ceiling = copy_ceiling(bytes, queue)});
  const Timing step_time = compute(" step", forward + backward, 13 * n, [&] { student.step(); });
  report.add({.name = name + " samples", .shape = shape, .time = step_time, .work = B, .unit = "1/s"});
}

/// Text embeddings as wide as the real teacher's.
WanConfig sized(int64_t heads, int64_t head_dim, int64_t layers) {
  return {.heads = heads,
          .head_dim = head_dim,
          .layers = layers,
          .ffn_dim = 4 * heads * head_dim,
          .in_channels = 16,
          .out_channels = 16,
          .text_dim = 4096,
          .freq_dim = 256};
}

void run() {
  const int threads = bench_threads();
  Report report("student_step", threads);
  const Queue queue{threads};
  const double peak = matmul_ceiling(report, queue);
  const WanConfig tiny = StudentConfig::load("data/student_tiny.json").to_wan_config();
  student_step(report, queue, peak, "tiny", tiny, 1, 16, 16);
  student_step(report, queue, peak, "tiny", tiny, 16, 16, 16);
  student_step(report, queue, peak, "small", sized(8, 64, 8), 1, 32, 32);
  student_step(report, queue, peak, "small", sized(8, 64, 8), 4, 32, 32);
  student_step(report, queue, peak, "base", sized(8, 128, 16), 1, 64, 64);
}

}  // namespace
}  // namespace wandistill::bench

int main() {
  wandistill::bench::run();
}
