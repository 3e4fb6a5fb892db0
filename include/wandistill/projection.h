// The student's first weights: a projection of the teacher's onto fewer layers, heads, channels and feed-forward units.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "wandistill/guided_sampler.h"

namespace wandistill {

enum class InitKind { kSlice, kPca, kRandom };
/// "slice", "pca" or "random"; else an error naming all three.
InitKind parse_init(const std::string& name);

/// Inputs on which the teacher's activations are measured: a few dozen points of its own trajectories.
struct Calibration {
  int64_t height = 0, width = 0;            // of the latents
  std::vector<float> latents;               // [n, in_channels, h, w]
  std::vector<float> timesteps;             // [n], 1000 * sigma
  std::vector<const TextEmbedding*> texts;  // [n]
};

Buffer<float> initial_student(InitKind kind, const GuidedModel& teacher, const WanTransformer& student,
                              double projection_factor, const Calibration& calibration, uint64_t seed,
                              const Queue& queue);

}  // namespace wandistill
