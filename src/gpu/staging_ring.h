// Pinned memory through which a stream copies from and to memory that is not.
#pragma once

#include <cstdint>
#include <memory>

#include "wandistill/gpu.h"

namespace wandistill {

/// Two halves, each with an event for when its copies are done: the host fills one while the stream reads the
/// other. For one stream.
class StagingRing {
 public:
  /// half_bytes: a multiple of 256.
  StagingRing(Device& device, int64_t half_bytes);
  /// Stream::upload() and download().
  void upload(Stream& stream, void* to, const void* from_host, int64_t bytes);
  void download(Stream& stream, void* to_host, const void* from, int64_t bytes);

 private:
  struct Half {
    PinnedBuffer<char> memory;
    std::unique_ptr<Event> copied;
  };
  int64_t half_bytes_;
  Half halves_[2];
  int current_ = 0;
  int64_t used_ = 0;  // bytes of the current half that the stream may yet have to read
};

}  // namespace wandistill
