// One forward pass of each expert of a teacher with one block, on this machine's CPU, against its float64
// evaluation for a few tokens: teacher_check TEACHER PIXELS. Prints the relative error and what the pass
// took; exit code 1 if the error is above 1e-4.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <functional>
#include <iostream>
#include <thread>

#include "src/teacher/experts.h"
#include "tests/teacher/float64.h"
#include "wandistill/error.h"
#include "wandistill/philox.h"
#include "wandistill/pipeline.h"

namespace wandistill {
namespace {

constexpr double kBound = 1e-4;

double seconds_of(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

int check(const std::string& folder, int64_t pixels) {
  const Compute host(Queue{int(std::max(1u, std::thread::hardware_concurrency()))});
  Pipeline teacher(folder, host);
  const WanTransformer& transformer = teacher.transformer();
  const WanConfig& config = transformer.config();
  const auto [h, w] = teacher.latent_size(pixels, pixels);
  const int64_t L = config.tokens(h, w), size = config.in_channels * h * w;
  std::vector<float> latents(size_t(size), 0.0f), velocity(latents);
  fill_gaussian(1, 1, 0, size, latents.data());
  TextEmbedding text{.tokens = 19, .rows = std::vector<float>(size_t(19 * config.text_dim))};
  fill_gaussian(1, 2, 0, int64_t(text.rows.size()), text.rows.data());
  const TextEmbedding* texts[] = {&text};
  const TextBatch batch = TextBatch::pack(texts, config.text_dim);
  const std::vector<int64_t> tokens{0, 1, w / config.patch_width, L / 2 + 7, L - 1};
  double worst = 0;
  for (const auto& [part, timestep] : {std::pair{"transformer", 937.5f}, {"transformer_2", 312.5f}}) {
    std::unique_ptr<Experts> expert;
    const double loading = seconds_of([&] {
      expert = load_experts(nullptr, {teacher.folder() / part}, transformer.layout(), host, Dtype::kFloat32,
                            TeacherPlacement::kHost);
    });
    WanActivations activations(Keep::kNothing);
    const WanInput input{h, w, latents.data(), &timestep, &batch};
    const double forward = seconds_of(
        [&] { transformer.forward(expert->weights(0), input, activations, velocity.data(), host); });
    const std::vector<double> expected = testing::velocity_of_tokens(
        config, transformer.layout(), expert->weights(0), h, w, latents.data(), timestep, text, tokens);
    double error = 0, norm = 0;
    size_t i = 0;
    for (const int64_t token : tokens)
      for (int64_t p = 0; p < config.patch_height; ++p)
        for (int64_t q = 0; q < config.patch_width; ++q)
          for (int64_t c = 0; c < config.out_channels; ++c, ++i) {
            const int64_t across = w / config.patch_width;
            const int64_t y = token / across * config.patch_height + p,
                          x = token % across * config.patch_width + q;
            const double difference = double(velocity[size_t((c * h + y) * w + x)]) - expected[i];
            error += difference * difference;
            norm += expected[i] * expected[i];
          }
    worst = std::max(worst, std::sqrt(error / norm));
    std::printf("%s: relative error %.2e; read %.2f GB at %.2f GB/s; forward of %ld tokens %.2f s\n", part,
                std::sqrt(error / norm), double(expert->figures.bytes) / 1e9,
                double(expert->figures.bytes) / 1e9 / loading, long(L), forward);
  }
  return worst < kBound ? 0 : 1;
}

}  // namespace
}  // namespace wandistill

int main(int argc, char** argv) {
  try {
    if (argc != 3) wandistill::fail("usage: teacher_check TEACHER PIXELS");
    return wandistill::check(argv[1], std::stoll(argv[2]));
  } catch (const std::exception& error) {
    std::cerr << "teacher_check: " << error.what() << "\n";
    return 1;
  }
}
