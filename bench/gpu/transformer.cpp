// A training step of the full-size student, and a teacher's block forward. FLOP by formula: backward counts
// as twice forward, as is usual for MFU (Chowdhery et al. 2022, https://arxiv.org/abs/2204.02311).
#include <cmath>

#include "bench/gpu/device_bench.h"
#include "wandistill/error.h"
#include "wandistill/flops.h"
#include "wandistill/student_config.h"
#include "wandistill/wan_transformer.h"

namespace wandistill::bench {
namespace {

constexpr int64_t kPromptTokens = 20;

/// Dense bf16 TFLOP/s as NVIDIA's data sheets have them, by a part of the device's name; the first that fits.
double nominal_rate(const std::string& device) {
  constexpr std::pair<const char*, double> kRates[] = {
      {"H100 PCIe", 756}, {"H100 NVL", 835}, {"H100", 989}, {"H200", 989}, {"A100", 312}};
  for (const auto& [name, rate] : kRates)
    if (device.find(name) != std::string::npos) return rate;
  return 0;
}

/// A model with weights by formula, and its inputs, where the ops work.
class Subject {
 public:
  Subject(const DeviceBench& bench, const WanConfig& config, int64_t batch, int64_t h, int64_t w)
      : model(config, *bench.compute.bf16_ops),
        n(model.layout().total()),
        latent_count(batch * config.in_channels * h * w),
        weights(bench.compute, n),
        rounded(bench.compute, n),
        latents(bench.input<float>(latent_count, 1, 2)),
        timesteps(bench.compute, batch),
        velocity(bench.output<float>(latent_count)) {
    const Compute& compute = bench.compute;
    Buffer<float> host(n);
    for (const ParameterInfo& p : model.layout().parameters())
      fill_parameter(p.name, p.shape, host.data() + p.offset);
    upload(compute, weights.data(), host.data(), n);
    compute.bf16_ops->narrow(n, weights.data(), rounded.data(), compute);
    const std::vector<float> times(size_t(batch), 500.0f);
    upload(compute, timesteps.data(), times.data(), batch);
    TextEmbedding prompt{kPromptTokens, std::vector<float>(size_t(kPromptTokens * config.text_dim))};
    for (size_t i = 0; i < prompt.rows.size(); ++i) prompt.rows[i] = float(formula_number(2, int64_t(i)));
    const std::vector<const TextEmbedding*> prompts(size_t(batch), &prompt);
    text = TextBatch::pack(prompts, config.text_dim);
    input = {h, w, latents.data(), timesteps.data(), &text};
    shape = cat(config.hidden(), " x ", config.layers, ", B ", batch, ", L ", config.tokens(h, w));
    parameters = {{"config", Json::parse(config.to_json())},
                  {"batch", batch},
                  {"height", h},
                  {"width", w},
                  {"prompt_tokens", kPromptTokens}};
    flop = double(batch) * wan_forward_flops(config, config.tokens(h, w), text_rows(kPromptTokens));
    bytes = kHalf * n + kFloat * (text.total() * config.text_dim + 2 * latent_count);
  }

  WanTransformer model;
  int64_t n, latent_count;
  OpBuffer<float> weights;
  OpBuffer<bf16> rounded;
  OpBuffer<float> latents, timesteps, velocity;
  TextBatch text;
  WanInput input;
  std::string shape;
  Json parameters;
  double flop;    // forward
  int64_t bytes;  // weights, text, latents and velocity
};

void forward(DeviceBench& bench, const std::string& name, const WanConfig& config, int64_t batch, int64_t h,
             int64_t w) {
  Subject s(bench, config, batch, h, w);
  WanActivations activations(Keep::kNothing);
  const Work work = [&] {
    s.model.forward(s.rounded.data(), s.input, activations, s.velocity.data(), bench.compute);
  };
  work();
  s.parameters["op"] = "transformer_forward";
  bench.compute_row(
      name, s.shape, s.flop, s.bytes, work,
      {{"case", s.parameters}, {"sample", {{"velocity", bench.sample(s.velocity.data(), s.latent_count)}}}});
}

/// Forward, backward, AdamW with the average: on one GPU, without input and collectives.
void student_step(DeviceBench& bench, const WanConfig& config, int64_t batch, int64_t h, int64_t w) {
  const Compute& compute = bench.compute;
  const OpsOf<bf16>& ops = *compute.bf16_ops;
  Subject s(bench, config, batch, h, w);
  const OpBuffer<float> target = bench.input<float>(s.latent_count, 3, 2);
  OpBuffer<float> loss_weights(compute, batch),
      dvelocity = bench.output<float>(s.latent_count), gradients = bench.output<float>(s.n),
      m = bench.output<float>(s.n), v = bench.output<float>(s.n), ema = bench.output<float>(s.n);
  OpBuffer<double> errors = bench.output<double>(batch), squared_norm = bench.output<double>(1);
  // So that the loss is the mean over all elements.
  const std::vector<float> mean(size_t(batch), 1 / float(s.latent_count));
  upload(compute, loss_weights.data(), mean.data(), batch);
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
  WanActivations activations(Keep::kAll);
  const Work forward = [&] {
    s.model.forward(s.rounded.data(), s.input, activations, s.velocity.data(), compute);
    ops.weighted_mse(batch, s.latent_count / batch, s.velocity.data(), target.data(), loss_weights.data(),
                     errors.data(), dvelocity.data(), compute);
  };
  const Work backward = [&] {
    s.model.backward(s.rounded.data(), s.input, activations, dvelocity.data(), gradients.data(), false,
                     compute);
    ops.squared_norm(s.n, gradients.data(), squared_norm.data(), compute);
  };
  const Work whole = [&] {
    forward();
    backward();
    ops.plan_update(step, squared_norm.data(), state.data(), compute);
    ops.adamw(step, state.data(), s.n, gradients.data(), s.weights.data(), m.data(), v.data(), ema.data(),
              s.rounded.data(), compute);
  };
  forward();
  backward();
  double squares = 0;
  download(compute, &squares, squared_norm.data(), 1);
  s.parameters["op"] = "student_step";
  const Json details = {{"case", s.parameters},
                        {"sample",
                         {{"velocity", bench.sample(s.velocity.data(), s.latent_count)},
                          {"gradient_norm", {std::sqrt(squares)}}}}};
  // With the loss: it reads the target and writes its gradient. Backward clears the gradients, adds to them
  // and takes their norm. AdamW reads gradient, weight, m, v and average, and writes the last four and the
  // rounded copy.
  const int64_t forward_bytes = s.bytes + kFloat * 2 * s.latent_count,
                backward_bytes = s.bytes + kFloat * 4 * s.n, update_bytes = (9 * kFloat + kHalf) * s.n;
  bench.compute_row("student forward", s.shape, s.flop, forward_bytes, forward);
  bench.compute_row("student backward", s.shape, 2 * s.flop, backward_bytes, backward);
  const Timing timing = bench.time(whole);
  Row row{.name = "student step",
          .shape = s.shape,
          .time = timing,
          .work = 3e-12 * s.flop,
          .unit = "TFLOP/s",
          .bytes = forward_bytes + backward_bytes + update_bytes,
          .ceiling = bench.matmul_rate(),
          .details = details};
  bench.report.add(row);
  row.name = "student step (MFU)";
  row.ceiling = nominal_rate(compute.device->name());
  row.details = Json::object();
  if (row.ceiling > 0) bench.report.add(row);
}

}  // namespace

void bench_transformer(DeviceBench& bench) {
  if (bench.tiny) {
    const WanConfig config = StudentConfig::load("data/student_tiny.json").to_wan_config();
    student_step(bench, config, 2, 4, 6);
    return forward(bench, "teacher, one block", config, 1, 4, 4);
  }
  student_step(bench, StudentConfig::load("data/student_1024.json").to_wan_config(), 4, 128, 128);
  const WanConfig teacher{.heads = 40,
                          .head_dim = 128,
                          .layers = 1,
                          .ffn_dim = 13824,
                          .in_channels = 16,
                          .out_channels = 16,
                          .text_dim = 4096,
                          .freq_dim = 256};
  forward(bench, "teacher, one block", teacher, 1, 128, 128);
}

}  // namespace wandistill::bench
