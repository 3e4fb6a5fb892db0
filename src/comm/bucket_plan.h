// Which gradients are summed together, and when.
#pragma once

#include <cstdint>
#include <vector>

#include "wandistill/range.h"

namespace wandistill {

/// Cuts ranges, in the order in which the backward pass completes them, into buckets. A bucket holds
/// neighbours in that order which are also neighbours in memory, and closes at bucket_bytes or more.
class BucketPlan {
 public:
  BucketPlan(const std::vector<Range>& order, int64_t bucket_bytes);

  int64_t count() const { return static_cast<int64_t>(buckets_.size()); }
  /// Range `index` of the order is complete.
  void ready(int64_t index);
  void all_ready();
  const Range& bucket(int64_t index) const { return buckets_[index].range; }
  /// The next bucket whose ranges are complete; -1 if it is not yet, or if there is none left. So the order
  /// is the same on all ranks.
  int64_t next();
  /// Nothing is complete any more, and the first bucket is the next.
  void start_again();

 private:
  struct Bucket {
    Range range;
    int64_t missing;  // ranges that are not complete
    int64_t ranges;
  };
  std::vector<Bucket> buckets_;
  std::vector<int64_t> bucket_of_;  // by range
  std::vector<char> is_ready_;      // by range
  int64_t next_ = 0;
};

}  // namespace wandistill
