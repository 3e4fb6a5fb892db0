// Sums the gradients of all ranks on their devices while the backward pass is still running.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "wandistill/device_collectives.h"
#include "wandistill/range.h"

namespace wandistill {

inline constexpr int64_t kDeviceBucketBytes = int64_t{32} << 20;

/// GradientBuckets on device memory: the sums run in the collectives' stream. The host waits for nothing.
class DeviceGradientBuckets {
 public:
  /// gradients, own: device memory; outlive this, as collectives and device do. order, bucket_bytes, own: as
  /// GradientBuckets has them.
  DeviceGradientBuckets(DeviceCollectives& collectives, Device& device, float* gradients,
                        const std::vector<Range>& order, int64_t bucket_bytes, float* own = nullptr);
  ~DeviceGradientBuckets();

  /// What is enqueued on `compute` so far completes range `index` of the order for this step. Until wait()
  /// nothing else may touch it.
  void ready(int64_t index, Stream& compute);
  /// What is enqueued on `compute` from now on finds every bucket summed, to the same bits on every rank
  /// that gets them. Prepares the next step. Ranges that were not reported count as ready now.
  void wait(Stream& compute);
  int64_t bucket_count() const;

 private:
  struct Reduction;
  std::unique_ptr<Reduction> reduction_;
};

}  // namespace wandistill
