#include "bucket_plan.h"

#include <climits>

#include "wandistill/error.h"

namespace wandistill {

BucketPlan::BucketPlan(const std::vector<Range>& order, int64_t bucket_bytes) : is_ready_(order.size(), 0) {
  constexpr int64_t kMost = INT_MAX / 2;  // MPI counts are int
  for (const Range& range : order) {
    WD_REQUIRE(range.begin <= range.end && range.size() <= kMost);
    Range* last = buckets_.empty() ? nullptr : &buckets_.back().range;
    const bool open = last != nullptr && last->size() * static_cast<int64_t>(sizeof(float)) < bucket_bytes &&
                      last->size() + range.size() <= kMost;
    if (open && range.begin == last->end) {
      last->end = range.end;
    } else if (open && range.end == last->begin) {
      last->begin = range.begin;
    } else {
      buckets_.push_back({range, 0, 0});
    }
    ++buckets_.back().ranges;
    bucket_of_.push_back(count() - 1);
  }
  start_again();
}

void BucketPlan::ready(int64_t index) {
  WD_REQUIRE(index >= 0 && index < static_cast<int64_t>(is_ready_.size()) && !is_ready_[index]);
  is_ready_[index] = 1;
  --buckets_[bucket_of_[index]].missing;
}

void BucketPlan::all_ready() {
  for (Bucket& b : buckets_) b.missing = 0;
}

int64_t BucketPlan::next() {
  if (next_ == count() || buckets_[next_].missing > 0) return -1;
  return next_++;
}

void BucketPlan::start_again() {
  for (Bucket& b : buckets_) b.missing = b.ranges;
  is_ready_.assign(is_ready_.size(), 0);
  next_ = 0;
}

}  // namespace wandistill
