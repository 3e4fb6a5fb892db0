// One optimizer step of a student on one rank: forward with the loss, backward, AdamW with the average; no
// MPI. GFLOP counts the matrix products of linear layers and attention, and is held against a 1024^3 product
// of the same type.
#include <memory>

#include "bench/ceiling.h"
#include "bench/student.h"
#include "wandistill/error.h"
#include "wandistill/flops.h"
#include "wandistill/student_config.h"

namespace wandistill::bench {
namespace {

constexpr int64_t kPromptTokens = 20;

struct Bench {
  Report& report;
  Queue queue;
  double peak, bf16_peak;  // GFLOP/s; of bf16 0 where the CPU has no such products
};

void student_step(const Bench& bench, const std::string& name, const WanConfig& config, int64_t batch,
                  int64_t h, int64_t w) {
  Report& report = bench.report;
  const int64_t n = ParameterLayout(config).total();
  const auto make = [&](const Ops& ops) {
    return std::make_unique<Student>(config, gaussian(n, 3, 0.02f),
                                     StudentBatch::random(config, batch, h, w, kPromptTokens), true,
                                     bench.queue, ops);
  };
  std::unique_ptr<Student> student = make(kCpuOps);
  const int64_t tokens = config.tokens(h, w), rows = text_rows(kPromptTokens);
  const std::string shape =
      cat(config.hidden(), " x ", config.layers, ", B ", batch, ", L ", tokens, ", ", n / 1000, " K");
  const double B = double(batch), forward = 1e-9 * wan_forward_flops(config, tokens, rows),
               backward = 1e-9 * wan_backward_flops(config, tokens, rows);
  constexpr double kSeconds = 1.5;
  // bytes: weights, gradients and the optimizer's state that must be read or written.
  const auto compute = [&](const std::string& part, double gflop, int64_t bytes, double peak,
                           const std::function<void()>& work) {
    const Timing time = measure(work, kSeconds);
    report.add({.name = name + part,
                .shape = shape,
                .time = time,
                .work = B * gflop,
                .bytes = bytes,
                .ceiling = peak});
    return time;
  };
  compute(" forward", forward, 4 * n, bench.peak, [&] { student->forward(); });
  compute(" backward", backward, 2 * 4 * n, bench.peak, [&] { student->backward(); });
  // AdamW reads gradient, weight, m, v and average, and writes the last four.
  const int64_t bytes = 9 * 4 * n;
  report.add({.name = name + " AdamW",
              .shape = shape,
              .time = measure([&] { student->update(); }, kSeconds),
              .work = double(bytes) * 1e-9,
              .unit = "GB/s",
              .ceiling = copy_ceiling(bytes, bench.queue)});
  const int64_t step_bytes = 13 * 4 * n;
  const Timing step_time =
      compute(" step", forward + backward, step_bytes, bench.peak, [&] { student->step(); });
  report.add({.name = name + " samples",
              .shape = shape,
              .time = step_time,
              .work = B,
              .unit = "1/s",
              .flop = 1e9 * B * (forward + backward),
              .bytes = step_bytes});
  if (bench.bf16_peak == 0)
    return report.skip(name + " step, bf16", shape, "this CPU has no instructions for products of bfloat16");
  student.reset();
  student = make(kCpuBf16Ops);
  // Besides, converted weights are written and read in two orders.
  compute(" step, bf16", forward + backward, step_bytes + 4 * int64_t{sizeof(bf16)} * n, bench.bf16_peak,
          [&] { student->step(); });
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
  const Bench bench{report, queue, matmul_ceiling(report, queue),
                    cpu_bf16::instructions() ? matmul_bf16_ceiling(report, queue) : 0};
  const WanConfig tiny = StudentConfig::load("data/student_tiny.json").to_wan_config();
  student_step(bench, "tiny", tiny, 1, 16, 16);
  student_step(bench, "tiny", tiny, 16, 16, 16);
  student_step(bench, "small", sized(8, 64, 8), 1, 32, 32);
  student_step(bench, "small", sized(8, 64, 8), 4, 32, 32);
  student_step(bench, "base", sized(8, 128, 16), 1, 64, 64);
}

}  // namespace
}  // namespace wandistill::bench

int main() {
  wandistill::bench::run();
}
