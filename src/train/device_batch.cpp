#include "src/train/device_batch.h"

#include <algorithm>

#include "wandistill/job_sizes.h"

namespace wandistill {

void DeviceBatch::load(const Queue& queue, const TrainingBatch& batch, int64_t n, int64_t h, int64_t w) {
  size_ = batch.size();
  bytes_ += batch.bytes();
  // The host enqueues a step while the one before is computed.
  if (queue.stream) queue.stream->reserve_uploads(std::min(kMostStaged, 2 * bytes_));
  const auto bring = [&](OpBuffer<float>& to, const std::vector<float>& from) {
    const int64_t count = int64_t(from.size());
    if (to.size() < count) to = OpBuffer<float>(queue, count);
    upload(queue, to.data(), from.data(), count);
  };
  bring(latents_, batch.latents);
  bring(target_, batch.target);
  bring(timesteps_, batch.timesteps);
  bring(weight_, batch.weight);
  for (OpBuffer<float>* buffer : {&velocity_, &dvelocity_})
    if (buffer->size() < size_ * n) *buffer = OpBuffer<float>(queue, size_ * n);
  input_ = {h, w, latents_.data(), timesteps_.data(), &batch.text};
}

}  // namespace wandistill
