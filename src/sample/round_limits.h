// What a rank may take on in a round of pictures: chosen from sizes and free memory where the options say
// auto.
#pragma once

#include "wandistill/picture_round.h"

namespace wandistill {

struct RoundLimits {
  int64_t batch;       // pictures denoised at once
  int64_t most_ranks;  // that draw one picture together
  int64_t tile_rows;   // latent rows decoded at once
};

/// RoundLimits::batch where `budget` bytes may be used; passes: 2 with guidance, else 1.
int64_t pictures_at_once(const WanConfig& config, Dtype dtype, int64_t passes, int64_t tokens,
                         int64_t budget);

RoundLimits round_limits(const Session& session, const PictureRound& round, const PictureOptions& options,
                         const Compute& compute);

}  // namespace wandistill
