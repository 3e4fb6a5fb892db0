// Pinned memory through which a stream copies from and to memory that is not.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "wandistill/gpu.h"

namespace wandistill {

/// Pieces in a circle, each with an event for when its copies are done: the host fills one while the stream
/// reads the others. For one stream.
class StagingRing {
 public:
  /// Of two pieces. piece_bytes: a multiple of 256.
  StagingRing(Device& device, int64_t piece_bytes);
  /// Stream::upload(), reserve_uploads() and download().
  void upload(Stream& stream, void* to, const void* from_host, int64_t bytes);
  void reserve(int64_t bytes);
  void download(Stream& stream, void* to_host, const void* from, int64_t bytes);

 private:
  struct Piece {
    PinnedBuffer<char> memory;
    std::unique_ptr<Event> copied;
  };
  Piece make_piece();

  Device& device_;
  const int64_t piece_bytes_;
  std::vector<Piece> pieces_;
  size_t current_ = 0;
  int64_t used_ = 0;  // bytes of the current piece that the stream may yet have to read
};

}  // namespace wandistill
