// Sums the gradients of all ranks while the backward pass is still running.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "wandistill/range.h"
#include "wandistill/session.h"

namespace wandistill {

inline constexpr int64_t kBucketBytes = int64_t{4} << 20;

/// Cuts the flat gradient buffer into buckets; a bucket's sum over the ranks starts when its last range is
/// ready, in the same bucket order on every rank and every step: an all-reduce, or a reduce-scatter where
/// each rank keeps a shard of the sums (the same bits). Scaling is the caller's: each rank weights its
/// gradients by its share of the samples before the ranges are ready. A world of one rank does nothing.
class GradientBuckets {
 public:
  /// gradients: outlives this. order: ranges in the order in which the backward pass completes them; together
  /// they cover what is to be summed, without overlap. A bucket holds neighbours in that order which are also
  /// neighbours in memory, and closes at bucket_bytes or more.
  /// own: null, and the sums take the gradients' place; or [Shard(order, bucket_bytes, ...).size()], outlives
  /// this, and receives the rank's shard of the sums: for several ranks.
  GradientBuckets(const Session& session, float* gradients, const std::vector<Range>& order,
                  int64_t bucket_bytes, float* own = nullptr);
  ~GradientBuckets();

  /// Range `index` of the order will not change any more in this step. Until wait() it must not be read
  /// either.
  void ready(int64_t index);
  /// Returns when every bucket is summed, to the same bits on every rank that gets them, and prepares the
  /// next step. Ranges that were not reported count as ready now, so a rank without samples simply calls this
  /// (its gradients zero). Waits as the session's collectives do, with their time-out.
  void wait();
  /// Time spent inside wait() since the start: what the overlap did not hide.
  double wait_seconds() const { return wait_seconds_; }
  int64_t bucket_count() const;

 private:
  struct Reduction;  // the buckets and what drives their all-reduces
  std::unique_ptr<Reduction> reduction_;
  double wait_seconds_ = 0;
};

}  // namespace wandistill
