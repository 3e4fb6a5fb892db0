// The course of a training run, for drawing.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <vector>

namespace wandistill {

struct LossPoint {
  int64_t epoch = 0;                            ///< that the step belongs to, counted from 1
  int64_t step = 0;                             ///< optimizer steps done
  std::optional<double> loss = {};              ///< of training; none where it was not finite
  std::optional<double> validation_error = {};  ///< where an epoch ended
};

/// What metrics.jsonl says, in the order of steps; empty where there is no such file. A run that went on from
/// an older checkpoint repeats steps: what it had discarded is left out. Lines that are no JSON (cut off when
/// a run was killed) are passed over. Of more than `most_points` steps, equal stretches become their means.
std::vector<LossPoint> loss_curve(const std::filesystem::path& metrics, int64_t most_points = 400);

}  // namespace wandistill
