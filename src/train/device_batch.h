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
  WanInput input_{};
  OpBuffer<float> latents_, target_, timesteps_, weight_, velocity_, dvelocity_;
};

}  // namespace wandistill
