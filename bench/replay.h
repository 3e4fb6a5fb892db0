// A round of pictures on a simulated clock: for more ranks than this machine has cores.
#pragma once

#include <algorithm>
#include <numeric>
#include <vector>

#include "wandistill/distribution.h"

namespace wandistill::bench {

/// Measured: seconds of one picture by one rank, and the part of a further rank's time that helps when one
/// picture is split (1: perfect).
struct PictureCost {
  double alone;
  double split_efficiency;
  double together(int64_t ranks) const { return alone / (1 + double(ranks - 1) * split_efficiency); }
};

/// Seconds of a round of n pictures. slowness[r] > 1: rank r takes that many times as long.
inline double replay(Distribution distribution, int64_t n, bool split, const PictureCost& cost,
                     const std::vector<double>& slowness) {
  const int64_t W = int64_t(slowness.size());
  std::vector<double> free(slowness.size(), 0.0);  // when each rank is done with what it has
  const auto take_turn = [&](const std::vector<int>& ranks) {
    double start = 0, slowest = 0;
    for (int rank : ranks) {
      start = std::max(start, free[size_t(rank)]);
      slowest = std::max(slowest, slowness[size_t(rank)]);
    }
    for (int rank : ranks) free[size_t(rank)] = start + cost.together(int64_t(ranks.size())) * slowest;
  };
  if (distribution != Distribution::kDynamic) {
    std::vector<std::vector<int64_t>> slices;
    for (int rank = 0; rank < int(W); ++rank)
      slices.push_back(distribution == Distribution::kBlock ? block_slice(n, rank, int(W))
                                                            : strided_slice(n, rank, int(W)));
    for (const Turn& turn : plan_turns(slices, split ? W : 1)) take_turn(turn.ranks);
  } else {
    const int64_t groups = split ? n % W : 0;
    for (int64_t i = 0; i < n - groups; ++i)
      take_turn({int(std::min_element(free.begin(), free.end()) - free.begin())});
    std::vector<int> arrival(slowness.size());
    std::iota(arrival.begin(), arrival.end(), 0);
    std::stable_sort(arrival.begin(), arrival.end(),
                     [&](int a, int b) { return free[size_t(a)] < free[size_t(b)]; });
    for (int64_t group = 0; group < groups; ++group) {
      std::vector<int> ranks;
      for (int64_t ticket = 0; ticket < W; ++ticket)
        if (ticket * groups / W == group) ranks.push_back(arrival[size_t(ticket)]);
      take_turn(ranks);
    }
  }
  return *std::max_element(free.begin(), free.end());
}

}  // namespace wandistill::bench
