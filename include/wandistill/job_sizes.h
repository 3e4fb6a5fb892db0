// Sizes that a job and its plan have in common.
#pragma once

#include <cstdint>

namespace wandistill {

/// Batches whose steps with one expert come before those with the other, where these change places.
inline constexpr int64_t kBatchesPerExpert = 4;
/// Bytes of a teacher's weights converted for products of bfloat16 on the CPU that a rank keeps. Those of a
/// large teacher, which the ranks of a node share, are converted for each product: with its many tokens that
/// takes little of the time.
inline constexpr int64_t kMostConverted = int64_t{1} << 30;
/// Records of a cache shard at most: there are file systems where a file has 65,000 links at most.
inline constexpr int64_t kMostRecords = 4096;
/// Pinned bytes at most for batches on their way to a rank's GPU.
inline constexpr int64_t kMostStaged = int64_t{512} << 20;
/// Points of trajectories that the student's start is measured on.
inline constexpr int64_t kCalibrationPoints = 64;
/// Prompts of the data that are drawn where --sample_prompts names none.
inline constexpr int64_t kDefaultSamplePrompts = 4;

/// Pixels of a picture's sides where neither options nor the model's folder say.
inline constexpr int64_t kDefaultImageSize = 1024;
/// Bytes of text encoder, tokenizer and VAE from which on the exported student has links to the teacher's.
inline constexpr int64_t kCopyBelow = int64_t{1} << 30;

/// Bytes that a rank in training holds from step to step, beside activations. kept: parameters whose
/// optimizer state is this rank's (Shard::size()). bfloat16: what the student reads weights in.
constexpr int64_t training_state_bytes(int64_t parameters, int64_t kept, bool bfloat16) {
  // Weights, moments, average, gradients, all float32; beside them weights and average as bfloat16.
  if (kept == parameters) return parameters * (5 * 4 + (bfloat16 ? 2 * 2 : 0));
  // Of all parameters gradients (whose place the whole average takes between steps), weights and, in
  // bfloat16, average as they are read; of its shard also the gradients' sums.
  return parameters * (4 + (bfloat16 ? 2 * 2 : 4)) + kept * 5 * 4;
}

}  // namespace wandistill
