// Which rank draws which prompt, and what its picture is called.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace wandistill {

/// The prompts of one rank when prompt i of n goes to rank i mod world: rank, rank + world, ... below n.
std::vector<int64_t> strided_slice(int64_t n, int rank, int world);

/// epoch_%04d_rank_%d_sample_%02d.png; the last number counts within the rank.
std::string sample_file_name(int64_t epoch, int rank, int64_t index_within_rank);

}  // namespace wandistill
