// The training samples in the teacher cache and the batches made of them.
#pragma once

#include <span>

#include "wandistill/teacher_cache.h"

namespace wandistill {

/// One point of one trajectory.
struct TrainingSample {
  int64_t item;
  int64_t point;
  bool operator==(const TrainingSample&) const = default;
};

/// A batch on its way to the student, and what it is compared with.
struct TrainingBatch {
  std::vector<float> latents, target;    // [B, C, h, w]
  std::vector<float> sigmas, timesteps;  // [B]
  std::vector<float> weight;             // [B]: of each sample's squared error in the loss
  std::vector<TextEmbedding> texts;
  TextBatch text;
  int64_t size() const { return int64_t(sigmas.size()); }
  /// Of what goes to the device.
  int64_t bytes() const {
    return int64_t((latents.size() + target.size() + text.rows.size() + 2 * sigmas.size()) * sizeof(float));
  }
};

struct LossSettings {
  bool relative = true;       // divide each sample's error by the mean square of its target
  double renoise_weight = 0;  // of the second term: re-noised x0 with target eps - x0
  double flow_shift = 1;      // of the schedule that the re-noising sigma is drawn from
  uint64_t seed = 0;
};

/// Which trajectories train the student and which are held out, by prompt.
class Dataset {
 public:
  /// Prompts are held out by a hash of their text, so that the split does not depend on the order of the file
  /// nor on the run; at least one prompt trains. Throws if a trajectory is not in the cache.
  Dataset(const TeacherCache& cache, const std::vector<std::string>& prompts, int64_t repetitions,
          double validation_fraction);

  const std::vector<TrainingSample>& training() const { return training_; }
  const std::vector<TrainingSample>& validation() const { return validation_; }

  /// Reads these samples. Each weight is 1 / (global_batch * n), n = C h w, times what `loss` says. With a
  /// renoise weight, every sample brings a second one: its x0 with fresh noise keyed by (seed, step,
  /// position).
  TrainingBatch load(std::span<const TrainingSample> samples, int64_t global_batch, const LossSettings& loss,
                     int64_t step, int64_t first_position, const Shape& picture, int64_t text_dim) const;

 private:
  const TeacherCache& cache_;
  std::vector<TrainingSample> training_, validation_;
};

}  // namespace wandistill
