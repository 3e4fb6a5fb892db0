#include "src/sample/round_limits.h"

#include <algorithm>

namespace wandistill {
namespace {

// Rows of tokens in a pass from which on a larger batch makes a core no faster. Measured on one core,
// pictures of 36 tokens, denoising per picture: 20.1 ms alone, 15.5 by 4, 15.3 by 8, 15.1 by 32, and 17.8
// by 57.
constexpr int64_t kRowsThatFill = 256;
// Fewer tokens than this per rank are not worth their exchange: 64 on 2 ranks gain a factor of 1.2 to 1.4,
// 256 of 1.8.
constexpr int64_t kTokensWorthSplitting = 64;

}  // namespace

int64_t pictures_at_once(const WanConfig& config, Dtype dtype, int64_t passes, int64_t tokens,
                         int64_t budget) {
  const int64_t bytes =
      WanActivations::bytes(config, Keep::kNothing, passes, tokens, passes * kTextPositions, dtype);
  return std::clamp<int64_t>(std::min(kRowsThatFill / (passes * tokens), budget / bytes), 1, 64);
}

RoundLimits round_limits(const Session& session, const PictureRound& round, const PictureOptions& options,
                         const Compute& compute) {
  const int64_t budget = compute.memory_budget(session);
  const WanConfig& config = round.model.transformer->config();
  const int64_t passes = round.model.guided() ? 2 : 1, tokens = config.tokens(round.h, round.w);
  RoundLimits limits{.batch = options.sample_batch, .most_ranks = 1, .tile_rows = options.vae_tile_rows};
  if (limits.batch == 0)
    limits.batch = pictures_at_once(config, round.model.transformer->dtype(), passes, tokens, budget);
  if (options.sample_split == "auto")
    limits.most_ranks = std::min<int64_t>(passes * std::max<int64_t>(1, tokens / kTokensWorthSplitting),
                                          session.world_size());
  if (limits.tile_rows == 0)
    limits.tile_rows = round.vae->strip_rows(round.h, round.w, budget, session.threads());
  return limits;
}

}  // namespace wandistill
