// One picture from prompt to pixels: the embedded teacher (two experts, guided, 25 steps) and the embedded
// student's sizes (10 steps, not guided; random weights, which take as long as trained ones).
#include "bench/ceiling.h"
#include "bench/measure.h"
#include "wandistill/error.h"
#include "wandistill/flops.h"
#include "wandistill/pipeline.h"
#include "wandistill/sampler.h"
#include "wandistill/student_config.h"

namespace wandistill::bench {
namespace {

constexpr const char* kPrompt = "a large red star on the left of a blue background";

struct Subject {
  std::string name;
  GuidedModel model;
  int64_t steps;
};

void draw(Report& report, const Queue& queue, double peak, Pipeline& pipeline, const Subject& subject,
          int64_t height, int64_t width) {
  const auto [h, w] = pipeline.latent_size(height, width);
  GuidedVelocity velocity(subject.model);
  const SamplingSettings settings{SamplerKind::kDdim, subject.steps, pipeline.scheduler()};
  const TextEmbedding text = pipeline.encode(kPrompt);
  std::vector<float> x(size_t(pipeline.vae_config().z_dim * h * w)), x0 = x;

  const auto denoise = [&](const TextEmbedding& embedding) {
    const TextEmbedding* texts[] = {&embedding};
    picture_noise(0, 0, int64_t(x.size()), x.data());
    sample_latents(velocity, settings, texts, h, w, x.data(), queue);
  };
  const auto decode = [&](const std::vector<float>& latents) {
    decode_picture(pipeline.vae(), latents.data(), h, w, queue);
  };
  denoise(text);
  x0 = x;
  const std::string pixels = cat(width, " x ", height);
  const std::string steps =
      cat(pixels, ", ", subject.steps, " steps", subject.model.guided() ? ", guided" : "");
  constexpr double kSeconds = 2;
  const WanConfig& config = subject.model.transformer->config();
  const auto pass = [&](const TextEmbedding& rows) {
    return 1e-9 * wan_forward_flops(config, config.tokens(h, w), text_rows(rows.tokens));
  };
  const double denoising =
      double(subject.steps) * (pass(text) + (subject.model.guided() ? pass(*subject.model.negative) : 0));
  report.add({.name = subject.name + " encode",
              .shape = cat(text.tokens, " tokens"),
              .time = measure([&] { pipeline.encode(kPrompt); }, kSeconds)});
  report.add({.name = subject.name + " denoise",
              .shape = steps,
              .time = measure([&] { denoise(text); }, kSeconds),
              .work = denoising,
              .ceiling = peak});
  report.add({.name = subject.name + " decode",
              .shape = pixels,
              .time = measure([&] { decode(x0); }, kSeconds),
              .work = 1e-9 * vae_decode_flops(pipeline.vae_config(), h, w, 0),
              .ceiling = peak});
  const auto picture = [&] {
    denoise(pipeline.encode(kPrompt));
    decode(x);
  };
  report.add({.name = subject.name + " picture",
              .shape = steps,
              .time = measure(picture, kSeconds),
              .work = 1,
              .unit = "1/s"});
}

void run() {
  const int threads = bench_threads();
  Report report("sampling", threads);
  const Queue queue{threads};
  const double peak = matmul_ceiling(report, queue);
  const Compute compute(queue);
  Pipeline pipeline("data/tiny-wan", compute);
  pipeline.load_text_encoder(nullptr);
  pipeline.load_experts(nullptr, TeacherPlacement::kAuto, 0);
  const StudentConfig config = StudentConfig::load("data/student_tiny.json");
  const TextEmbedding negative = pipeline.encode("");
  draw(report, queue, peak, pipeline, {"teacher", pipeline.guided(4, 3, &negative), 25}, config.image_height,
       config.image_width);

  const WanTransformer student(config.to_wan_config());
  const Buffer<float> weights = gaussian(student.layout().total(), 1, 0.02f);
  draw(report, queue, peak, pipeline,
       {"student", {.transformer = &student, .high_noise = weights.data()}, 10}, config.image_height,
       config.image_width);
}

}  // namespace
}  // namespace wandistill::bench

int main() {
  wandistill::bench::run();
}
