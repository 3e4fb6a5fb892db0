// Sizes that a job and its plan have in common.
#pragma once

#include <cstdint>

namespace wandistill {

/// Bytes of trajectories from which on a shard of the teacher cache is written.
inline constexpr int64_t kShardBytes = int64_t{256} << 20;
/// Points of trajectories that the student's start is measured on.
inline constexpr int64_t kCalibrationPoints = 64;
/// Prompts of the data that are drawn where --sample_prompts names none.
inline constexpr int64_t kDefaultSamplePrompts = 4;

/// Pixels of a picture's sides where neither options nor the model's folder say.
inline constexpr int64_t kDefaultImageSize = 1024;
/// Bytes of text encoder, tokenizer and VAE from which on the exported student has links to the teacher's.
inline constexpr int64_t kCopyBelow = int64_t{1} << 30;

}  // namespace wandistill
