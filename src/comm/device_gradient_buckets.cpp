#include "wandistill/device_gradient_buckets.h"

#include "bucket_plan.h"
#include "wandistill/shard.h"

namespace wandistill {

struct DeviceGradientBuckets::Reduction {
  DeviceCollectives& collectives;
  float* gradients;
  BucketPlan plan;  // without buckets in a world of one rank
  std::unique_ptr<Event> complete, summed;
  std::vector<float*> own;  // of a reduce-scatter: where the rank's piece of each bucket goes

  void start_ready(Stream& compute) {
    for (int64_t next = plan.next(); next >= 0; next = plan.next()) {
      const Range& bucket = plan.bucket(next);
      compute.record(*complete);
      collectives.stream().wait(*complete);
      if (own.empty())
        collectives.all_reduce_sum(gradients + bucket.begin, bucket.size(), collectives.stream());
      else
        collectives.reduce_scatter_sum(gradients + bucket.begin, bucket.size(),
                                       own[static_cast<size_t>(next)], collectives.stream());
    }
  }
};

DeviceGradientBuckets::DeviceGradientBuckets(DeviceCollectives& collectives, Device& device, float* gradients,
                                             const std::vector<Range>& order, int64_t bucket_bytes,
                                             float* own)
    : reduction_(new Reduction{
          collectives,
          gradients,
          BucketPlan(collectives.world_size() == 1 ? std::vector<Range>() : order, bucket_bytes),
          device.make_event(),
          device.make_event(),
          {}}) {
  if (!own) return;
  const Shard shard(order, bucket_bytes, collectives.world_size(), collectives.rank());
  for (const Shard::Piece& piece : shard.pieces()) reduction_->own.push_back(own + piece.at);
}

DeviceGradientBuckets::~DeviceGradientBuckets() = default;

void DeviceGradientBuckets::ready(int64_t index, Stream& compute) {
  Reduction& r = *reduction_;
  if (r.plan.count() == 0) return;
  r.plan.ready(index);
  r.start_ready(compute);
}

void DeviceGradientBuckets::wait(Stream& compute) {
  Reduction& r = *reduction_;
  if (r.plan.count() == 0) return;
  r.plan.all_ready();
  r.start_ready(compute);
  r.collectives.stream().record(*r.summed);
  compute.wait(*r.summed);
  r.plan.start_again();
}

int64_t DeviceGradientBuckets::bucket_count() const {
  return reduction_->plan.count();
}

}  // namespace wandistill
