// What a training run, or a cache alone, will write, and where.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "wandistill/plan.h"

namespace wandistill {

/// What to do where check_disk(run_writes(...)) fails.
inline constexpr const char* kDiskRemedy =
    "free some space, or point --output_dir, --cache_dir or --sample_dir to another disk; fewer "
    "--repetitions, a smaller --keep_checkpoints";

/// How many of the job's trajectories its cache has already. Error if the cache is another job's.
int64_t cached_trajectories(const PlanInput& input, const std::vector<std::string>& prompts);

/// Bytes below each folder, as check_disk takes them; without an output_dir those of the cache. missing:
/// trajectories that the cache does not have yet.
std::vector<std::pair<std::filesystem::path, int64_t>> run_writes(const TrainOptions& options,
                                                                  const PlanFiles& files, int64_t missing);

}  // namespace wandistill
