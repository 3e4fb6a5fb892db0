// One student in training on all ranks: steps, validation, the schedule.
#pragma once

#include <array>
#include <memory>

#include "src/train/dataset.h"
#include "src/train/training_state.h"
#include "wandistill/gradient_buckets.h"
#include "wandistill/options.h"
#include "wandistill/session.h"

namespace wandistill {

/// Seconds that this rank spent in each part of one step.
struct PhaseTimes {
  double data = 0, forward = 0, backward = 0, reduce_wait = 0, optimizer = 0;
};

/// What one optimizer step did; the same on every rank.
struct StepResult {
  double loss = 0, gradient_norm = 0, lr = 0;
  bool skipped = false;  // loss or gradient was not finite
  bool stop = false;     // a signal came: no further step
  bool epoch_done = false;
  int64_t samples = 0;  // of all ranks
  PhaseTimes seconds;   // of this rank
};

/// Relative error ||v_s - v_t||^2 / ||v_t||^2, in all, by expert and by fifths of sigma; NaN where nothing
/// falls.
struct ValidationResult {
  double all = 0, high_noise = 0, low_noise = 0;
  std::array<double, 5> sigma_bin{};
};

class Trainer {
 public:
  /// picture: [C, h, w] of the latents. high_noise_from: timesteps from which the teacher's high-noise expert
  /// worked.
  Trainer(Session& session, const TrainOptions& options, const WanTransformer& student, const Dataset& data,
          const Shape& picture, const LossSettings& loss, double high_noise_from, TrainingState state,
          const StopSignals& stop, const Queue& queue);

  int64_t steps_per_epoch() const;
  /// Optimizer steps of the whole run, from num_epochs and num_steps.
  int64_t total_steps() const;
  bool finished() const;
  /// The next optimizer step: this rank's share of the next global batch, the all-reduce, the update.
  /// Collective. Throws CollectiveError after max_nonfinite skipped updates in a row.
  StepResult step();
  /// The error of the EMA weights on the held-out prompts. Collective; NaN if none are held out.
  ValidationResult validate();

  const TrainingState& state() const { return state_; }
  TrainingState& state() { return state_; }

 private:
  double learning_rate() const;
  /// Forward and backward over this rank's samples [begin, end) of the global batch that starts at `first`.
  double accumulate(int64_t first, int64_t begin, int64_t end, int64_t global_batch);

  Session& session_;
  const TrainOptions& options_;
  const WanTransformer& student_;
  const Dataset& data_;
  Shape picture_;
  LossSettings loss_;
  double high_noise_from_;
  TrainingState state_;
  const StopSignals& stop_;
  Queue queue_;

  Buffer<float> gradients_;
  GradientBuckets buckets_;
  WanActivations activations_;
  std::vector<TrainingSample> order_;  // of the current epoch
  int64_t order_epoch_ = -1;
  PhaseTimes times_;
  double started_, elapsed_before_;
};

}  // namespace wandistill
