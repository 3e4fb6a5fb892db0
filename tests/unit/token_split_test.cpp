// One sample's forward pass: in a batch, and with its tokens split, the same bits as alone.
#include "wandistill/token_split.h"

#include <doctest/doctest.h>

#include <barrier>
#include <thread>

#include "tests/unit/op_compare.h"
#include "wandistill/wan_transformer.h"

namespace wandistill {
namespace {

using op_test::kOne;
using op_test::nans;
using op_test::normal;

TEST_CASE("token ranges cover all tokens once, and are even") {
  for (const int64_t tokens : {1, 5, 15, 16, 17, 36, 77, 129, 256, 1024, 1031})
    for (const int64_t parts : {1, 2, 3, 4, 7, 64}) {
      CAPTURE(tokens);
      CAPTURE(parts);
      int64_t at = 0;
      for (int64_t part = 0; part < parts; ++part) {
        const Range r = token_range(tokens, part, parts);
        CHECK(r.begin == at);
        CHECK(r.end >= r.begin);
        CHECK((r.end % 16 == 0 || r.end == tokens));
        CHECK(r.size() <= tokens / parts + 31);
        if (tokens >= 16 * parts) CHECK(r.size() >= 16);
        at = r.end;
      }
      CHECK(at == tokens);
      CHECK(token_range(tokens, 0, parts).size() > 0);
    }
}

/// A transformer, its weights, and samples with texts and timesteps that differ.
struct Samples {
  WanConfig config;
  int64_t h, w;
  std::vector<TextEmbedding> texts;
  std::vector<float> latents, timesteps;

  Samples(const WanConfig& c, int64_t height, int64_t width, const std::vector<int64_t>& tokens)
      : config(c), h(height), w(width) {
    for (const int64_t n : tokens) {
      texts.push_back({n, normal(n * c.text_dim, uint32_t(n))});
      timesteps.push_back(1000.0f / float(texts.size()));
    }
    latents = normal(batch() * latent_count(), 1);
  }
  int64_t batch() const { return int64_t(texts.size()); }
  int64_t latent_count() const { return config.in_channels * h * w; }
  int64_t velocity_count() const { return config.out_channels * h * w; }

  /// velocity of samples [begin, end).
  std::vector<float> forward(const float* weights, int64_t begin, int64_t end,
                             const TokenSplit* split = nullptr) const {
    const WanTransformer model(config);
    std::vector<const TextEmbedding*> prompts;
    for (int64_t i = begin; i < end; ++i) prompts.push_back(&texts[size_t(i)]);
    const TextBatch text = TextBatch::pack(prompts, config.text_dim);
    std::vector<float> velocity = nans((end - begin) * velocity_count());
    WanActivations activations(Keep::kNothing);
    model.forward(weights,
                  {h, w, latents.data() + begin * latent_count(), timesteps.data() + begin, &text, split},
                  activations, velocity.data(), kOne);
    REQUIRE(std::isfinite(velocity.front()));
    return velocity;
  }

  void check_batch(const float* weights) const {
    const std::vector<float> all = forward(weights, 0, batch());
    for (int64_t b = 0; b < batch(); ++b) {
      const std::vector<float> one = forward(weights, b, b + 1);
      CHECK(std::equal(one.begin(), one.end(), all.begin() + b * velocity_count()));
    }
  }

  /// Sample 0 by `parts` threads that stand for ranks.
  void check_split(const float* weights, int64_t parts) const {
    const std::vector<float> alone = forward(weights, 0, 1);
    const int64_t tokens = config.tokens(h, w);
    std::barrier<> all(parts);
    std::vector<const char*> rows_of(size_t(parts), nullptr);
    std::vector<std::vector<float>> results(static_cast<size_t>(parts));
    const auto work = [&](int64_t part) {
      TokenSplit split{token_range(tokens, part, parts), [&, part](void* gathered, int64_t width) {
                         char* rows = static_cast<char*>(gathered);
                         rows_of[size_t(part)] = rows;
                         all.arrive_and_wait();
                         for (int64_t other = 0; other < parts; ++other) {
                           const Range r = token_range(tokens, other, parts);
                           if (other != part)
                             std::copy(rows_of[size_t(other)] + r.begin * width,
                                       rows_of[size_t(other)] + r.end * width, rows + r.begin * width);
                         }
                         all.arrive_and_wait();
                       }};
      results[size_t(part)] = forward(weights, 0, 1, &split);
    };
    std::vector<std::jthread> ranks;
    for (int64_t part = 0; part < parts; ++part) ranks.emplace_back(work, part);
    ranks.clear();
    CAPTURE(parts);
    for (const std::vector<float>& result : results) CHECK(result == alone);
  }
};

Samples tiny_wan() {
  return {WanConfig::load("data/tiny-wan/transformer"), 12, 12, {1, 17, kTextPositions}};
}

Samples odd() {
  const WanConfig config{.heads = 3,
                         .head_dim = 20,
                         .layers = 2,
                         .ffn_dim = 100,
                         .in_channels = 3,
                         .out_channels = 5,
                         .text_dim = 9,
                         .freq_dim = 16};
  return {config, 22, 26, {5, 1, 77, 129, 30}};  // 143 tokens
}

std::vector<float> random_weights(const WanConfig& config) {
  std::vector<float> weights = normal(ParameterLayout(config).total(), 20);
  for (float& v : weights) v *= 0.2f;
  return weights;
}

TEST_CASE("a batch's samples are as each alone, bit for bit") {
  const Samples teacher = tiny_wan();
  const Buffer<float> weights =
      load_wan_weights("data/tiny-wan/transformer", ParameterLayout(teacher.config));
  teacher.check_batch(weights.data());
  const Samples samples = odd();
  samples.check_batch(random_weights(samples.config).data());
}

TEST_CASE("split tokens are as computed in one piece, bit for bit") {
  const Samples teacher = tiny_wan();
  const Buffer<float> weights =
      load_wan_weights("data/tiny-wan/transformer", ParameterLayout(teacher.config));
  for (const int64_t parts : {1, 2, 3}) teacher.check_split(weights.data(), parts);  // 36 tokens: one is idle
  const Samples samples = odd();
  const std::vector<float> random = random_weights(samples.config);
  for (const int64_t parts : {2, 3, 4, 7}) samples.check_split(random.data(), parts);
}

TEST_CASE("a split is for one sample and nothing that is kept") {
  const Samples samples = odd();
  const std::vector<float> weights = random_weights(samples.config);
  const TokenSplit split{{0, 143}, [](void*, int64_t) {}};
  CHECK_THROWS_WITH(samples.forward(weights.data(), 0, 2, &split), doctest::Contains("internal error"));
}

}  // namespace
}  // namespace wandistill
