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

RoundLimits round_limits(const Session& session, const PictureRound& round, const PictureOptions& options,
                         const Compute& compute);

}  // namespace wandistill
