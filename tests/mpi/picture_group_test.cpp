// One picture drawn by a group of ranks is the one that a rank draws alone, bit for bit.
#include "wandistill/picture_group.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "mpi_test.h"
#include "wandistill/guided_sampler.h"
#include "wandistill/philox.h"

namespace wandistill {
namespace {

std::vector<float> gaussian(int64_t n, uint64_t stream, float scale = 1) {
  std::vector<float> values(size_t(n), 0.0f);
  fill_gaussian(1, stream, 0, n, values.data());
  for (float& v : values) v *= scale;
  return values;
}

std::vector<int> all_ranks() {
  std::vector<int> ranks(size_t(test_session().world_size()));
  std::iota(ranks.begin(), ranks.end(), 0);
  return ranks;
}

/// A model with all that a picture needs.
struct Picture {
  WanTransformer transformer;
  Buffer<float> high_noise, low_noise;
  TextEmbedding text, negative;
  int64_t h, w;
  GuidedModel model;

  Picture(const WanConfig& config, int64_t height, int64_t width)
      : transformer(config),
        text{17, gaussian(17 * config.text_dim, 1)},
        negative{1, gaussian(config.text_dim, 2)},
        h(height),
        w(width) {
    model.transformer = &transformer;
    model.negative = &negative;
  }
  int64_t tokens() const { return transformer.config().tokens(h, w); }

  std::vector<float> draw(SamplerKind sampler, const PictureGroup* group) const {
    const SamplingSettings settings{sampler, 3, {}};
    std::vector<float> x = gaussian(transformer.config().in_channels * h * w, 3);
    const TextEmbedding* texts[] = {&text};
    GuidedVelocity velocity(model);
    velocity.set_group(group);
    REQUIRE(sample_latents(velocity, settings, texts, h, w, x.data(), Queue{1}));
    REQUIRE(std::none_of(x.begin(), x.end(), [](float v) { return std::isnan(v); }));
    return x;
  }

  /// By all ranks.
  void check() const {
    const PictureGroup together(test_session(), all_ranks(), model.guided(), tokens());
    for (const SamplerKind sampler : {SamplerKind::kDdim, SamplerKind::kUniPc})
      CHECK(draw(sampler, &together) == draw(sampler, nullptr));
  }
};

/// The embedded teacher with both experts: 36 tokens, so that the last of four ranks has none unless guided.
struct Teacher : Picture {
  Teacher() : Picture(WanConfig::load("data/tiny-wan/transformer"), 12, 12) {
    high_noise = load_wan_weights("data/tiny-wan/transformer", transformer.layout());
    low_noise = load_wan_weights("data/tiny-wan/transformer_2", transformer.layout());
    model.high_noise = high_noise.data();
    model.low_noise = low_noise.data();
    model.boundary_ratio = 0.875;
  }
};

/// One expert with random weights, 17 x 19 tokens.
struct Odd : Picture {
  Odd()
      : Picture({.heads = 3,
                 .head_dim = 20,
                 .layers = 2,
                 .ffn_dim = 100,
                 .in_channels = 4,
                 .out_channels = 4,
                 .text_dim = 9,
                 .freq_dim = 16},
                34, 38) {
    const std::vector<float> weights = gaussian(transformer.layout().total(), 4, 0.2f);
    high_noise = Buffer<float>::copy_of(weights.data(), int64_t(weights.size()));
    model.high_noise = high_noise.data();
  }
};

TEST_CASE("picture group: the teacher's guided picture is as drawn alone [any ranks]") {
  Teacher teacher;
  teacher.model.guidance = 4;
  teacher.model.guidance_2 = 3;
  teacher.check();
}

TEST_CASE("picture group: a picture without guidance is as drawn alone [any ranks]") {
  Teacher teacher;
  teacher.model.low_noise = nullptr;
  teacher.check();
}

TEST_CASE("picture group: many tokens, with and without guidance [any ranks]") {
  Odd odd;
  odd.check();
  odd.model.guidance = 2.5;
  odd.check();
}

TEST_CASE("picture group: halves, and what is exchanged [any ranks]") {
  const int W = test_session().world_size(), rank = test_session().rank();
  std::vector<int> members = all_ranks();
  std::reverse(members.begin(), members.end());  // the leader is the last rank
  const PictureGroup group(test_session(), members, true, 323);
  CHECK(group.size() == W);
  CHECK(group.rank() == W - 1 - rank);
  CHECK(group.is_leader() == (rank == W - 1));
  CHECK(group.splits_passes() == (W > 1));
  CHECK(group.pass() == (W > 1 && group.rank() >= (W + 1) / 2 ? 1 : 0));
  if (W > 1) {
    std::vector<float> passes(14, -1.0f);
    std::fill_n(passes.begin() + group.pass() * 7, 7, float(10 + group.pass()));
    group.exchange_passes(passes.data(), 7);
    for (size_t i = 0; i < passes.size(); ++i) CHECK(passes[i] == (i < 7 ? 10.0f : 11.0f));
  }
  std::vector<float> values(size_t(group.is_leader() ? 5 : 0), 1.5f);
  group.broadcast(&values);
  CHECK(values == std::vector<float>(5, 1.5f));
  CHECK(group.any(rank == 0));
  CHECK_FALSE(group.any(false));
}

TEST_CASE("picture group: two groups draw at once, the other ranks do not take part [4 ranks]") {
  NEEDS_RANKS(4);
  const int rank = test_session().rank();
  Odd odd;
  odd.model.guidance = 2.5;
  const std::vector<float> alone = odd.draw(SamplerKind::kDdim, nullptr);
  using Groups = std::vector<std::vector<int>>;
  for (const Groups& groups : {Groups{{2, 0}, {1, 3}}, Groups{{3, 1, 0}}, Groups{{2}}})
    for (const std::vector<int>& members : groups)
      if (std::count(members.begin(), members.end(), rank)) {
        const PictureGroup group(test_session(), members, true, odd.tokens());
        CHECK(odd.draw(SamplerKind::kDdim, &group) == alone);
      }
  test_session().barrier();
}

}  // namespace
}  // namespace wandistill
