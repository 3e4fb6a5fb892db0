// Which rank draws which prompt, and what its picture is called.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace wandistill {

enum class Distribution {
  kStrided,  // prompt i on rank i mod W
  kBlock,    // contiguous slices of ceil(n / W)
  kDynamic   // the next prompt to the next free rank
};
/// "strided", "block" or "dynamic"; else an error naming all three.
Distribution parse_distribution(const std::string& name);

/// The prompts of one rank when prompt i of n goes to rank i mod world: rank, rank + world, ... below n.
std::vector<int64_t> strided_slice(int64_t n, int rank, int world);
/// The prompts of one rank when every rank gets ceil(n / world) neighbours while there are any: 6 prompts on
/// 4 ranks are dealt 2, 2, 2, 0.
std::vector<int64_t> block_slice(int64_t n, int rank, int world);

/// One prompt and the ranks that draw it together; the first leads: it has the prompt and writes the picture.
struct Turn {
  int64_t prompt;
  std::vector<int> ranks;
  bool operator==(const Turn&) const = default;
};

/// Who draws what, round by round, when rank r has the prompts slices[r]. Ranks that have no prompt left in a
/// round are dealt as helpers over those that have one; at most `most_ranks` draw one picture (1: nobody
/// helps). Every rank takes its turns in this order.
std::vector<Turn> plan_turns(const std::vector<std::vector<int64_t>>& slices, int64_t most_ranks);

/// epoch_%04d_rank_%d_sample_%02d.png; the last number counts within the rank.
std::string sample_file_name(int64_t epoch, int rank, int64_t index_within_rank);
/// What the names of an epoch's pictures start with.
std::string sample_file_prefix(int64_t epoch);
/// teacher_rank_%d_sample_%02d.png
std::string teacher_file_name(int rank, int64_t index_within_rank);
/// rank_%d_sample_%02d.png, outside of training.
std::string picture_file_name(int rank, int64_t index_within_rank);

}  // namespace wandistill
