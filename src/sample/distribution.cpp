#include "wandistill/distribution.h"

#include <algorithm>
#include <cstdio>

#include "wandistill/error.h"

namespace wandistill {

Distribution parse_distribution(const std::string& name) {
  if (name == "strided") return Distribution::kStrided;
  if (name == "block") return Distribution::kBlock;
  if (name == "dynamic") return Distribution::kDynamic;
  fail("unknown distribution '", name, "'; expected strided, block or dynamic");
}

std::vector<int64_t> strided_slice(int64_t n, int rank, int world) {
  WD_REQUIRE(world >= 1 && rank >= 0 && rank < world);
  std::vector<int64_t> slice;
  for (int64_t i = rank; i < n; i += world) slice.push_back(i);
  return slice;
}

std::vector<int64_t> block_slice(int64_t n, int rank, int world) {
  WD_REQUIRE(world >= 1 && rank >= 0 && rank < world);
  const int64_t size = (n + world - 1) / world;
  std::vector<int64_t> slice;
  for (int64_t i = rank * size; i < std::min(n, (rank + 1) * size); ++i) slice.push_back(i);
  return slice;
}

std::vector<Turn> plan_turns(const std::vector<std::vector<int64_t>>& slices, int64_t most_ranks) {
  WD_REQUIRE(most_ranks >= 1);
  size_t rounds = 0;
  for (const auto& slice : slices) rounds = std::max(rounds, slice.size());
  std::vector<Turn> turns;
  for (size_t round = 0; round < rounds; ++round) {
    const size_t first = turns.size();
    std::vector<int> idle;
    for (size_t rank = 0; rank < slices.size(); ++rank) {
      if (round < slices[rank].size())
        turns.push_back({slices[rank][round], {int(rank)}});
      else
        idle.push_back(int(rank));
    }
    const size_t busy = turns.size() - first;
    for (size_t i = 0; i < idle.size(); ++i) {
      std::vector<int>& ranks = turns[first + i % busy].ranks;
      if (int64_t(ranks.size()) < most_ranks) ranks.push_back(idle[i]);
    }
  }
  return turns;
}

std::string picture_file_name(int rank, int64_t index_within_rank) {
  char name[64];
  std::snprintf(name, sizeof(name), "rank_%d_sample_%02lld.png", rank,
                static_cast<long long>(index_within_rank));
  return name;
}

std::string sample_file_prefix(int64_t epoch) {
  char prefix[64];
  std::snprintf(prefix, sizeof(prefix), "epoch_%04lld_", static_cast<long long>(epoch));
  return prefix;
}

std::string sample_file_name(int64_t epoch, int rank, int64_t index_within_rank) {
  return sample_file_prefix(epoch) + picture_file_name(rank, index_within_rank);
}

std::string teacher_file_name(int rank, int64_t index_within_rank) {
  return "teacher_" + picture_file_name(rank, index_within_rank);
}

}  // namespace wandistill
