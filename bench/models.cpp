// The embedded teacher's parts, each alone: an expert's forward pass, the text encoder, the VAE decoder.
#include "bench/ceiling.h"
#include "bench/measure.h"
#include "wandistill/error.h"
#include "wandistill/flops.h"
#include "wandistill/pipeline.h"

namespace wandistill::bench {
namespace {

constexpr const char* kTeacher = "data/tiny-wan";
constexpr double kSeconds = 1.5;

struct Models {
  Report& report;
  Queue queue;
  double peak;

  void row(const std::string& name, const std::string& shape, double flop, int64_t bytes,
           const std::function<void()>& work) const {
    report.add({.name = name,
                .shape = shape,
                .time = measure(work, kSeconds),
                .work = flop * 1e-9,
                .bytes = bytes,
                .ceiling = peak});
  }
};

/// One sample of `side` x `side` latents with a prompt of 20 tokens. Bytes: the weights.
void teacher_forward(const Models& bench, const WanTransformer& transformer, const float* weights,
                     int64_t side) {
  const WanConfig& config = transformer.config();
  constexpr int64_t kTokens = 20;
  const TextEmbedding prompt{kTokens, std::vector<float>(size_t(kTokens * config.text_dim), 0.1f)};
  const TextEmbedding* prompts[] = {&prompt};
  const TextBatch text = TextBatch::pack(prompts, config.text_dim);
  const Buffer<float> latents = gaussian(config.in_channels * side * side, 1);
  Buffer<float> velocity(config.out_channels * side * side);
  const float timestep = 900;
  WanActivations activations(Keep::kNothing);
  const int64_t tokens = config.tokens(side, side);
  bench.row("teacher forward", cat(tokens, " tokens"), wan_forward_flops(config, tokens, text_rows(kTokens)),
            4 * transformer.layout().total(), [&] {
              transformer.forward(weights, {side, side, latents.data(), &timestep, &text}, activations,
                                  velocity.data(), bench.queue);
            });
}

void text_encoder(const Models& bench, const Umt5Encoder& encoder, int64_t tokens) {
  std::vector<int32_t> ids(size_t(tokens), 5);
  std::vector<float> out(size_t(tokens * encoder.width()));
  bench.row("text encoder", cat(tokens, " tokens"), umt5_flops(encoder.config(), tokens),
            4 * tokens * encoder.width(), [&] { encoder.encode(ids, out.data(), bench.queue); });
}

/// Bytes: the picture's.
void vae_decode(const Models& bench, const WanVaeDecoder& vae, int64_t pixels) {
  const int64_t side = pixels / vae.config().scale();
  const Buffer<float> latents = gaussian(vae.config().z_dim * side * side, 1);
  Buffer<float> image(3 * pixels * pixels);
  bench.row("VAE decode", cat(pixels, " x ", pixels), vae_decode_flops(vae.config(), side, side, 0),
            4 * image.size(), [&] { vae.decode(latents.data(), side, side, image.data(), bench.queue); });
}

void run() {
  const int threads = bench_threads();
  Report report("models", threads);
  const Queue queue{threads};
  const Models bench{report, queue, matmul_ceiling(report, queue)};
  const std::filesystem::path teacher = kTeacher;
  const WanTransformer transformer(WanConfig::load(teacher / "transformer"));
  const Buffer<float> weights = load_wan_weights(teacher / "transformer", transformer.layout());
  for (const int64_t side : {16, 64}) teacher_forward(bench, transformer, weights.data(), side);
  const Umt5Encoder encoder(teacher / "text_encoder", queue);
  for (const int64_t tokens : {20, 512}) text_encoder(bench, encoder, tokens);
  const WanVaeDecoder vae(teacher / "vae", VaeDtype::kFloat32, queue);
  for (const int64_t pixels : {128, 512, 1024}) vae_decode(bench, vae, pixels);
}

}  // namespace
}  // namespace wandistill::bench

int main() {
  wandistill::bench::run();
}
