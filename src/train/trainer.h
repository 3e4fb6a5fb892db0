// One student in training on all ranks: steps, validation, the schedule.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <vector>

#include "src/train/batch_reader.h"
#include "src/train/dataset.h"
#include "src/train/device_batch.h"
#include "src/train/optimizer.h"
#include "wandistill/compute.h"
#include "wandistill/options.h"
#include "wandistill/session.h"

namespace wandistill {

/// Seconds that this rank spent in each part of one step; on a device, in asking for it.
struct PhaseTimes {
  double data = 0, forward = 0, backward = 0, reduce_wait = 0, optimizer = 0;
};

/// What came of one optimizer step; the same on every rank.
struct StepOutcome {
  int64_t step = 0;  // counted from 1
  double loss = 0, gradient_norm = 0, lr = 0;
  bool skipped = false;  // loss or gradient was not finite
  int64_t skipped_so_far = 0;
  int64_t samples = 0;  // of all ranks
  PhaseTimes seconds;   // of this rank
  double wall = 0;      // seconds in all
};

/// One optimizer step asked for; the same on every rank.
struct StepResult {
  int64_t samples = 0;  // of all ranks
  bool stop = false;    // a signal came: no further step
  bool epoch_done = false;
  /// What became known, in order: on the host this step's; on a device the step's before, so that nobody
  /// waits for it, and at the end of an epoch or of the run this one's too.
  std::vector<StepOutcome> outcomes;
};

/// Relative error ||v_s - v_t||^2 / ||v_t||^2, in all, by expert and by fifths of sigma; NaN where nothing
/// falls.
struct ValidationResult {
  double all = 0, high_noise = 0, low_noise = 0;
  std::array<double, 5> sigma_bin{};
};

/// What this rank keeps of the optimizer's state: all of it, or with --zero 1 its part.
Shard optimizer_shard(const Session& session, const TrainOptions& options, const Compute& compute,
                      const ParameterLayout& layout);

class Trainer {
 public:
  /// picture: [C, h, w] of the latents. high_noise_from: timesteps from which the teacher's high-noise expert
  /// worked. state: on the host, what optimizer_shard() keeps. compute outlives this. Collective.
  Trainer(Session& session, const TrainOptions& options, const WanTransformer& student, const Dataset& data,
          const Shape& picture, const LossSettings& loss, double high_noise_from, TrainingState state,
          const StopSignals& stop, const Compute& compute);

  ~Trainer();

  int64_t steps_per_epoch() const;
  /// Optimizer steps of the whole run, from num_epochs and num_steps.
  int64_t total_steps() const;
  bool finished() const;
  /// The next optimizer step: this rank's share of the next global batch, the all-reduce, the update.
  /// Collective. Throws CollectiveError after max_nonfinite skipped updates in a row.
  StepResult step();
  /// The error of the EMA weights on the held-out prompts. Collective; NaN if none are held out.
  ValidationResult validate();

  /// Its buffers are where the ops work, and have what this rank keeps.
  TrainingState& state() { return optimizer_.state(); }
  const TrainingState& state() const { return optimizer_.state(); }
  /// What has the state.
  Optimizer& optimizer() { return optimizer_; }

 private:
  struct ReadBack;

  double learning_rate() const;
  /// A step's global batch: samples [first, first + size) of the epoch's order, of which [begin, end) of it
  /// are this rank's.
  struct Share {
    int64_t first, size, begin, end;
  };
  Share share_from(int64_t first) const;
  /// The micro-batch that begins with the sample `at` of the share.
  BatchRequest request(const Share& share, int64_t step, int64_t at) const;
  /// Beside a device, what accumulate() will ask for after this micro-batch: the share's sample `next`, or,
  /// where that is its end, the next step's first. The next epoch's order is not known yet.
  void read_ahead(const Share& share, int64_t next);
  /// Forward and backward over this rank's share.
  void accumulate(const Share& share, ReadBack* step);
  void update(double lr);
  /// Asks for the step's scalars.
  void read_back(ReadBack* step);
  /// Waits for them; this rank's share of the loss.
  double own_loss(ReadBack* step);
  /// loss: of all ranks.
  StepOutcome conclude(ReadBack* step, double loss);

  Session& session_;
  const TrainOptions& options_;
  const WanTransformer& student_;
  const Dataset& data_;
  Shape picture_;
  LossSettings loss_;
  double high_noise_from_;
  const Compute& compute_;
  Optimizer optimizer_;
  const StopSignals& stop_;

  WanActivations activations_;
  BatchReader reader_;
  DeviceBatch batch_;
  std::unique_ptr<ReadBack[]> steps_;  // [2]: the present step and the one before
  std::vector<TrainingSample> order_;  // of the current epoch
  int64_t order_epoch_ = -1;
  PhaseTimes times_;
  double started_, elapsed_before_;
};

}  // namespace wandistill
