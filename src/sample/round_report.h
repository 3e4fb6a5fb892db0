// What a round of pictures came to: records of all ranks, and the line that says how it went.
#pragma once

#include "wandistill/picture_round.h"

namespace wandistill {

/// Seconds of one rank.
struct RoundTimes {
  double seconds;  // from the start of the round to the end of the fence
  double busy;     // of these at work
  double fence_wait;
};

/// Gathers the records of all ranks (collective); rank 0 prints the summary.
RoundResult report_round(const Session& session, const PictureRound& round,
                         std::vector<PictureRecord> records, const RoundTimes& times);

}  // namespace wandistill
