// A training batch where the ops work, with what the loss leaves of it.
#pragma once

#include <vector>

#include "src/train/dataset.h"
#include "wandistill/op_memory.h"
#include "wandistill/wan_transformer.h"

namespace wandistill {

/// Keeps its memory from batch to batch.
class DeviceBatch {
 public:
  /// What is loaded from now on belongs to another step. Loading a step's batches does not wait for the
  /// device while those of this step and of the one before are no more than kMostStaged bytes.
  void start_step() { bytes_ = 0; }
  /// n = C h w. The batch outlives what is done with it on the host: its text is not copied.
  void load(const Queue& queue, const TrainingBatch& batch, int64_t n, int64_t h, int64_t w);

  const WanInput& input() const { return input_; }
  const float* target() const { return target_.data(); }
  const float* weight() const { return weight_.data(); }
  float* velocity() { return velocity_.data(); }
  float* dvelocity() { return dvelocity_.data(); }
  int64_t size() const { return size_; }

 private:
  int64_t size_ = 0;
  int64_t bytes_ = 0;  // of the step's batches
  WanInput input_{};
  OpBuffer<float> latents_, target_, timesteps_, weight_, velocity_, dvelocity_;
};

}  // namespace wandistill
