// How far the ranks' clocks are apart: leases expire and logs are read by them.
#pragma once

#include <vector>

#include "src/plan/checks.h"
#include "wandistill/session.h"

namespace wandistill {

/// A question and its answer, in seconds since 1970: asked and heard by the asker's clock, answered by the
/// other's.
struct Exchange {
  double asked, answered, heard;
};

struct ClockOffset {
  double seconds;      // the other's clock minus the asker's
  double uncertainty;  // it may be so much more or less
};

/// From the exchange with the shortest way there and back: the answer was given somewhere within it
/// (Cristian, Probabilistic clock synchronization, 1989). At least one.
ClockOffset clock_offset(const std::vector<Exchange>& exchanges);

/// Offsets of every rank from rank 0; a warning where one is above a second. hosts: by rank.
Check clocks_check(const std::vector<ClockOffset>& offsets, const std::vector<std::string>& hosts);

/// Rank 0 asks every rank a few times. Collective.
Check check_clocks(const Session& session);

}  // namespace wandistill
