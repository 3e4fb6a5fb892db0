// The optimizer on one rank: what it keeps of the state, the sums of gradients that it takes, the weights
// that it makes.
#pragma once

#include <optional>

#include "src/train/training_state.h"
#include "wandistill/compute.h"
#include "wandistill/converted_weights.h"
#include "wandistill/device_gradient_buckets.h"
#include "wandistill/gradient_buckets.h"
#include "wandistill/session.h"
#include "wandistill/shard.h"

namespace wandistill {

/// AdamW on the state (TrainingState) where the ops work, of all parameters or of a shard. In that case every
/// rank has all weights and gradients, keeps its pieces alone of moments, average and float32 weights, and
/// gets their gradients' sums alone; the weights that it makes go to all.
class Optimizer {
 public:
  /// As buckets of gradients are summed where `compute` works.
  static int64_t bucket_bytes(const Compute& compute) {
    return compute.on_host() ? kBucketBytes : kDeviceBucketBytes;
  }

  /// state: on the host, what the shard keeps. shard: whole, or cut as (layout.gradient_order(),
  /// bucket_bytes). dtype: what the student reads weights in. What is passed by reference outlives this.
  /// Collective.
  Optimizer(Session& session, const Compute& compute, const ParameterLayout& layout, Dtype dtype, Shard shard,
            int64_t bucket_bytes, TrainingState state);

  /// Where the backward pass leaves this rank's gradients [layout.total()].
  float* gradients() { return gradients_.data(); }
  /// For a rank without samples in a step: all gradients are 0.
  void clear_gradients() { fill_zero(compute_, gradients_.data(), gradients_.size()); }
  /// This group of gradients (layout.gradient_order()) is complete: its sum over the ranks may start.
  void ready(int64_t group);
  /// Waits for all sums: on a device it is the stream that does. Seconds that the host waited.
  double wait_for_sums();
  /// Counts and decides on the step by the norm of the whole gradient, the same on all ranks, and makes it.
  /// Collective.
  void update(const AdamWStep& step);

  /// As the student takes them, until the next update.
  WanWeights weights();
  /// A section of the state (kSections) whole, until the next call of this or of averaged_weights() and until
  /// the next gradients: of a shared state it lies where they do. Then collective.
  const float* whole(size_t section);
  /// The moving average, as the student takes its weights, likewise.
  WanWeights averaged_weights();

  TrainingState& state() { return state_; }
  const TrainingState& state() const { return state_; }
  /// [1], where the ops work, of the last step.
  const UpdateState* update_state() const { return update_.data(); }
  const double* squared_norm() const { return squared_norm_.data(); }

 private:
  /// Puts this rank's pieces of a section, as T, in their places in `flat`.
  template <class T>
  void put_pieces(const OpBuffer<float>& kept, T* flat);
  /// All ranks' pieces; nothing if each keeps everything.
  void gather(void* flat, int64_t element_bytes);
  void gather_weights();
  /// On a device: until all that is enqueued is done, collectives too.
  void wait_for_device(const char* what);

  Session& session_;
  const Compute& compute_;
  const Shard shard_;
  TrainingState state_;
  OpBuffer<bf16> rounded_, rounded_average_;  // where the student reads bfloat16
  // Where it reads float32 and multiplies in bfloat16:
  ConvertedWeights converted_, converted_average_;
  OpBuffer<UpdateState> update_;   // [1]
  OpBuffer<double> squared_norm_;  // [1]
  OpBuffer<float> gradients_;
  // Of a shared state: all weights where the student reads float32; the sums of this rank's gradients.
  OpBuffer<float> all_weights_, own_gradients_;
  // One of the two, on the host and on a device:
  std::optional<GradientBuckets> buckets_;
  std::optional<DeviceGradientBuckets> device_buckets_;
};

}  // namespace wandistill
