// One optimizer step of a student on one rank: forward with the loss, backward, AdamW with the average; no
// MPI. GFLOP counts the matrix products of linear layers and attention, and is held against a 1024^3 product.
#include "bench/ceiling.h"
#include "bench/flops.h"
#include "bench/measure.h"
#include "wandistill/error.h"
#include "wandistill/student_config.h"
#include "wandistill/wan_transformer.h"

namespace wandistill::bench {
namespace {

constexpr int64_t kPromptTokens = 20;

void student_step(Report& report, const Queue& queue, double peak, const std::string& name,
                  const WanConfig& config, int64_t batch, int64_t h, int64_t w) {
  const WanTransformer student(config);
  const int64_t n = student.layout().total(), latent_count = batch * config.in_channels * h * w;
  const int64_t velocity_count = batch * config.out_channels * h * w;

  const TextEmbedding prompt{kPromptTokens,
                             std::vector<float>(size_t(kPromptTokens * config.text_dim), 0.1f)};
  const std::vector<const TextEmbedding*> prompts(size_t(batch), &prompt);
  const TextBatch text = TextBatch::pack(prompts, config.text_dim);
  const Buffer<float> latents = gaussian(latent_count, 1), target = gaussian(velocity_count, 2);
  std::vector<float> timesteps(size_t(batch), 500.0f), loss_weights(size_t(batch), 1.0f);
  const WanInput input{h, w, latents.data(), timesteps.data(), &text};

  Buffer<float> weights = gaussian(n, 3, 0.02f), ema = Buffer<float>::copy_of(weights.data(), n);
  Buffer<float> gradients = Buffer<float>::zeros(n), m = Buffer<float>::zeros(n), v = Buffer<float>::zeros(n);
  Buffer<float> velocity(velocity_count), dvelocity(velocity_count);
  std::vector<double> errors(size_t(batch), 0.0);
  WanActivations activations(Keep::kAll);
  const AdamWStep step{.lr = 1e-4f,
                       .beta1 = 0.9f,
                       .beta2 = 0.95f,
                       .eps = 1e-8f,
                       .weight_decay = 0.01f,
                       .clip = 1,
                       .ema_decay = 0.999f};
  UpdateState state;

  const auto forward = [&] {
    student.forward(weights.data(), input, activations, velocity.data(), queue);
    kCpuOps.weighted_mse(batch, velocity_count / batch, velocity.data(), target.data(), loss_weights.data(),
                         errors.data(), dvelocity.data(), queue);
  };
  const auto backward = [&] {
    student.backward(weights.data(), input, activations, dvelocity.data(), gradients.data(), queue);
  };
  const auto update = [&] {
    double squared_norm = 0;
    kCpuOps.squared_norm(n, gradients.data(), &squared_norm, queue);
    kCpuOps.plan_update(step, &squared_norm, &state, queue);
    kCpuOps.adamw(step, &state, n, gradients.data(), weights.data(), m.data(), v.data(), ema.data(), nullptr,
                  queue);
  };
  const auto whole = [&] {
    std::fill(gradients.begin(), gradients.end(), 0.0f);
    forward();
    backward();
    update();
  };

  const std::string shape = cat(config.hidden(), " x ", config.layers, ", B ", batch, ", L ",
                                config.tokens(h, w), ", ", n / 1000, " K");
  const Gflop gflop = gflop_per_sample(config, double(config.tokens(h, w)), double(kPromptTokens + 1));
  const double B = double(batch);
  constexpr double kSeconds = 1.5;
  report.add({.name = name + " forward",
              .shape = shape,
              .time = measure(forward, kSeconds),
              .work = B * gflop.forward,
              .ceiling = peak});
  report.add({.name = name + " backward",
              .shape = shape,
              .time = measure(backward, kSeconds),
              .work = B * gflop.backward,
              .ceiling = peak});
  // AdamW reads gradient, weight, m, v and average, and writes the last four.
  const int64_t bytes = 9 * 4 * n;
  report.add({.name = name + " AdamW",
              .shape = shape,
              .time = measure(update, kSeconds),
              .work = double(bytes) * 1e-9,
              .unit = "GB/s",
              .ceiling = copy_ceiling(bytes, queue)});
  const Timing step_time = measure(whole, kSeconds);
  report.add({.name = name + " step",
              .shape = shape,
              .time = step_time,
              .work = B * (gflop.forward + gflop.backward),
              .ceiling = peak});
  report.add({.name = name + " samples", .shape = shape, .time = step_time, .work = B, .unit = "1/s"});
}

void run() {
  const int threads = bench_threads();
  Report report("student_step", threads);
  const Queue queue{threads};
  const double peak = matmul_ceiling(report, queue);
  const StudentConfig tiny = StudentConfig::load("data/student_tiny.json");
  student_step(report, queue, peak, "tiny", tiny.to_wan_config(), 16, tiny.image_height / 8,
               tiny.image_width / 8);
  // 256 x 256 pixels, text embeddings as wide as the real teacher's.
  const WanConfig middling{.heads = 8,
                           .head_dim = 64,
                           .layers = 8,
                           .ffn_dim = 2048,
                           .in_channels = 16,
                           .out_channels = 16,
                           .text_dim = 4096,
                           .freq_dim = 256};
  student_step(report, queue, peak, "512 wide", middling, 4, 32, 32);
}

}  // namespace
}  // namespace wandistill::bench

int main() {
  wandistill::bench::run();
}
