#include "wandistill/projection.h"

#include <doctest/doctest.h>

#include <cmath>
#include <string>
#include <vector>

#include "wandistill/error.h"
#include "wandistill/philox.h"
#include "wandistill/pipeline.h"

namespace wandistill {
namespace {

WanConfig teacher_config() {
  return {.heads = 5,
          .head_dim = 12,
          .layers = 3,
          .ffn_dim = 77,
          .in_channels = 3,
          .out_channels = 3,
          .text_dim = 7,
          .freq_dim = 16};
}

WanConfig student_config() {
  WanConfig c = teacher_config();
  c.heads = 3;
  c.layers = 2;
  c.ffn_dim = 33;
  return c;
}

/// A teacher with random weights and its calibration inputs: 9 pictures of 4 x 6 latents.
struct World {
  static constexpr int64_t kHeight = 4, kWidth = 6, kPictures = 9;
  WanTransformer transformer;
  Buffer<float> weights;
  std::vector<TextEmbedding> texts;
  Calibration calibration;

  explicit World(const WanConfig& config = teacher_config())
      : transformer(config),
        weights(initial_student(InitKind::kRandom, WanTransformer(teacher_config()), nullptr, transformer, 1,
                                {}, 1, Queue{})) {
    const int64_t size = 3 * kHeight * kWidth;
    calibration.height = kHeight;
    calibration.width = kWidth;
    calibration.latents.resize(size_t(kPictures * size));
    fill_gaussian(2, 0, 0, kPictures * size, calibration.latents.data());
    for (int64_t i = 0; i < kPictures; ++i) {
      TextEmbedding& text = texts.emplace_back(TextEmbedding{5, std::vector<float>(5 * 7)});
      fill_gaussian(3, uint64_t(i), 0, 5 * 7, text.rows.data());
      calibration.timesteps.push_back(1000 * (float(i) + 0.5f) / kPictures);
    }
    for (const TextEmbedding& text : texts) calibration.texts.push_back(&text);
  }

  /// Velocities for the calibration inputs.
  std::vector<float> velocities(const WanTransformer& model, const float* model_weights) const {
    const TextBatch text = TextBatch::pack(calibration.texts, model.config().text_dim);
    WanActivations activations(Keep::kNothing);
    std::vector<float> out(calibration.latents.size());
    model.forward(model_weights,
                  {kHeight, kWidth, calibration.latents.data(), calibration.timesteps.data(), &text},
                  activations, out.data(), Queue{});
    return out;
  }

  /// ||student - teacher|| / ||teacher|| on the calibration inputs.
  double error(InitKind kind, const WanConfig& config, double factor = 1) const {
    const WanTransformer student(config);
    const Buffer<float> start =
        initial_student(kind, transformer, weights.data(), student, factor, calibration, 4, Queue{});
    const std::vector<float> ours = velocities(student, start.data());
    const std::vector<float> reference = velocities(transformer, weights.data());
    double difference = 0, norm = 0;
    for (size_t i = 0; i < ours.size(); ++i) {
      difference += std::pow(double(ours[i]) - reference[i], 2);
      norm += std::pow(double(reference[i]), 2);
    }
    return std::sqrt(difference / norm);
  }
};

std::string message_of(const World& world, const WanConfig& config, const Calibration& calibration) {
  try {
    initial_student(InitKind::kPca, world.transformer, world.weights.data(), WanTransformer(config), 1,
                    calibration, 4, Queue{});
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST_CASE("initialisations are named") {
  CHECK(parse_init("slice") == InitKind::kSlice);
  CHECK(parse_init("pca") == InitKind::kPca);
  CHECK(parse_init("random") == InitKind::kRandom);
  CHECK_THROWS_WITH_AS(parse_init("PCA"), doctest::Contains("slice, pca or random"), Error);
}

TEST_CASE("a slice as large as the teacher is the teacher") {
  const World world;
  const double error = world.error(InitKind::kSlice, teacher_config());
  REQUIRE(std::isfinite(error));
  CHECK(error < 2e-5);
  // The all-ones direction is left out of the principal coordinates, so modulations are diagonal up to 1 / C.
  const double pca_error = world.error(InitKind::kPca, teacher_config());
  REQUIRE(std::isfinite(pca_error));
  CHECK(pca_error < 0.1);
}

/// Empties every second channel of the stream, of the context and of the time and text embedders' hidden
/// layers, every second feed-forward unit and the last half of the heads, whose queries and keys are three
/// times those of the first half. What is left is a model of half the width, except that its norms see the
/// rest.
void empty_half(World& world) {
  const WanConfig& c = world.transformer.config();
  const WanTensors<float> w(c, world.transformer.layout(), world.weights.data());
  const int64_t C = c.hidden(), F = c.ffn_dim;
  const auto odd_columns = [](float* weight, int64_t rows, int64_t columns) {
    for (int64_t i = 0; i < rows * columns; ++i)
      if (i % columns % 2) weight[i] = 0;
  };
  // Writes to even rows alone, which add up to zero, so that the norms' mean stays zero.
  const auto write = [C](const LinearTensors<float>& layer, int64_t columns) {
    for (const auto& [at, width] : {std::pair{layer.weight, columns}, std::pair{layer.bias, int64_t(1)}})
      for (int64_t k = 0; k < width; ++k) {
        float mean = 0;
        for (int64_t i = 0; i < C; i += 2) mean += at[i * width + k] / float(C / 2);
        for (int64_t i = 0; i < C; ++i) at[i * width + k] = i % 2 ? 0 : at[i * width + k] - mean;
      }
  };
  write(w.patch_embedding, c.in_channels * 4);
  odd_columns(w.time_out.weight, C, C);
  odd_columns(w.text_out.weight, C, C);
  for (int64_t i = C; i < C * C; i += 2 * C) {  // odd rows: the context's channels
    std::fill_n(w.text_out.weight + i, C, 0.0f);
    w.text_out.bias[i / C] = 0;
  }
  for (const int64_t gate : {2 * C, 5 * C})  // the same for all channels, or sums would not stay zero
    for (int64_t i = 0; i < C; ++i) {
      std::copy_n(w.time_proj.weight + gate * C, C, w.time_proj.weight + (gate + i) * C);
      w.time_proj.bias[gate + i] = w.time_proj.bias[gate];
      for (const BlockTensors<float>& b : w.blocks) b.scale_shift_table[gate + i] = 0.5f;
    }
  for (const BlockTensors<float>& b : w.blocks) {
    for (const AttentionTensors<float>* a : {&b.self, &b.cross}) {
      for (const LinearTensors<float>* layer : {&a->q, &a->k}) {
        odd_columns(layer->weight, C, C);
        for (int64_t i = 0; i < C * C / 2; ++i) layer->weight[C * C / 2 + i] = 3 * layer->weight[i];
        for (int64_t i = 0; i < C / 2; ++i) layer->bias[C / 2 + i] = 3 * layer->bias[i];
      }
      odd_columns(a->v.weight, C, C);
      for (int64_t i = 0; i < C * C; ++i)
        if (i % C >= C / 2) a->out.weight[i] = 0;
      write(a->out, C);
    }
    odd_columns(b.ffn_in.weight, F, C);
    odd_columns(b.ffn_out.weight, C, F);
    write(b.ffn_out, F);
  }
  odd_columns(w.proj_out.weight, c.out_channels * 4, C);
}

TEST_CASE("a small model that hides in a large teacher is found") {
  WanConfig large = teacher_config(), small = teacher_config();
  large.heads = 6;
  large.ffn_dim = 66;
  small.heads = 3;
  small.ffn_dim = 33;
  World world(large);
  empty_half(world);
  // What remains: the head's shift and scale share one time embedding, though the student's norm differs; and
  // in the principal coordinates modulations are diagonal up to 1 / C.
  const double error = world.error(InitKind::kSlice, small), pca_error = world.error(InitKind::kPca, small);
  REQUIRE(std::isfinite(error));
  REQUIRE(std::isfinite(pca_error));
  CHECK(error < 0.02);
  CHECK(pca_error < 0.06);
}

TEST_CASE("smaller students start nearer to the teacher than zero and than random ones") {
  const World world;
  WanConfig narrow = student_config(), narrow_heads = student_config();
  narrow_heads.head_dim = 8;
  for (const InitKind kind : {InitKind::kSlice, InitKind::kPca})
    for (const WanConfig& config : {narrow, narrow_heads}) {
      const double error = world.error(kind, config);
      REQUIRE(std::isfinite(error));
      CHECK(error < 1);
      CHECK(error < 0.9 * world.error(InitKind::kRandom, config));
    }
}

TEST_CASE("the low-noise expert is the one that is projected") {
  const Compute host(Queue{});
  Pipeline teacher("data/tiny-wan", host);
  const WanWeights expert = teacher.main_expert(nullptr);
  const Buffer<float> low = load_wan_weights("data/tiny-wan/transformer_2", teacher.transformer().layout());
  for (const ParameterInfo& p : teacher.transformer().layout().parameters())
    CHECK(std::equal(low.begin() + p.offset, low.begin() + p.offset + p.size, expert.at<float>(p)));
}

TEST_CASE("the projection factor scales the matrices, not norms, tables or biases") {
  const World world;
  const WanTransformer student(student_config());
  const Buffer<float> one = initial_student(InitKind::kPca, world.transformer, world.weights.data(), student,
                                            1, world.calibration, 4, Queue{});
  const Buffer<float> half = initial_student(InitKind::kPca, world.transformer, world.weights.data(), student,
                                             0.5, world.calibration, 4, Queue{});
  for (const char* name : {"blocks.1.attn1.to_q.weight", "proj_out.weight", "patch_embedding.weight"})
    for (int64_t i = 0; i < student.layout().at(name).size; ++i)
      REQUIRE(half[student.layout().at(name).offset + i] == 0.5f * one[student.layout().at(name).offset + i]);
  for (const char* name :
       {"blocks.1.attn1.norm_q.weight", "blocks.0.norm2.weight", "scale_shift_table", "proj_out.bias"})
    for (int64_t i = 0; i < student.layout().at(name).size; ++i)
      REQUIRE(half[student.layout().at(name).offset + i] == one[student.layout().at(name).offset + i]);
}

TEST_CASE("every initialisation is finite, repeatable and the same on any number of threads") {
  const World world;
  const WanTransformer student(student_config());
  for (const InitKind kind : {InitKind::kSlice, InitKind::kPca, InitKind::kRandom}) {
    const Buffer<float> a = initial_student(kind, world.transformer, world.weights.data(), student, 1,
                                            world.calibration, 4, Queue{1});
    const Buffer<float> b = initial_student(kind, world.transformer, world.weights.data(), student, 1,
                                            world.calibration, 4, Queue{3});
    REQUIRE(a.size() == student.layout().total());
    int64_t bad = 0, different = 0;
    for (int64_t i = 0; i < a.size(); ++i) {
      bad += !std::isfinite(a[i]);
      different += a[i] != b[i];
    }
    CHECK(bad == 0);
    CHECK(different == 0);
  }
}

TEST_CASE("random weights: seeded, spread as PyTorch's layers, norms at one") {
  const WanTransformer student(student_config());
  const auto draw = [&](uint64_t seed) {
    return initial_student(InitKind::kRandom, WanTransformer(teacher_config()), nullptr, student, 1, {}, seed,
                           Queue{});
  };
  const Buffer<float> a = draw(1), b = draw(2);
  const auto of = [&](const Buffer<float>& w, const char* name) {
    const ParameterInfo& p = student.layout().at(name);
    return std::vector<float>(w.data() + p.offset, w.data() + p.offset + p.size);
  };
  CHECK(of(a, "proj_out.weight") != of(b, "proj_out.weight"));
  for (const float v : of(a, "blocks.1.norm2.weight")) CHECK(v == 1);
  for (const float v : of(a, "blocks.1.norm2.bias")) CHECK(v == 0);
  for (const float v : of(a, "blocks.0.attn2.norm_k.weight")) CHECK(v == 1);
  const auto largest = [&](const char* name) {
    float most = 0;
    for (const float v : of(a, name)) most = std::max(most, std::abs(v));
    return most;
  };
  const float bound = 1 / std::sqrt(33.0f);  // fan in of the second feed-forward layer
  CHECK(largest("blocks.0.ffn.net.2.weight") <= bound);
  CHECK(largest("blocks.0.ffn.net.2.weight") > 0.98f * bound);
  CHECK(largest("blocks.0.ffn.net.2.bias") <= bound);
  double squares = 0;
  const std::vector<float> table = of(a, "blocks.0.scale_shift_table");  // [1, 6, 36]
  for (const float v : table) squares += double(v) * v;
  CHECK(squares / double(table.size()) == doctest::Approx(1.0 / 36).epsilon(0.25));
}

TEST_CASE("students that cannot be projected are refused") {
  const World world;
  WanConfig c = student_config();
  c.layers = 4;
  CHECK(message_of(world, c, world.calibration).find("layers is 4, the teacher's is 3") != std::string::npos);
  c = student_config();
  c.heads = 6;
  CHECK(message_of(world, c, world.calibration).find("hidden size is 72, the teacher's is 60") !=
        std::string::npos);
  c.head_dim = 8;
  CHECK(message_of(world, c, world.calibration).find("number of heads is 6") != std::string::npos);
  c = student_config();
  c.text_dim = 8;
  CHECK(message_of(world, c, world.calibration).find("text embeddings is 8") != std::string::npos);
  CHECK(message_of(world, student_config(), {}).find("without calibration inputs") != std::string::npos);
}

}  // namespace
}  // namespace wandistill
