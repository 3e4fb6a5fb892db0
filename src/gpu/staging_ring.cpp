#include "src/gpu/staging_ring.h"

#include <algorithm>
#include <cstring>

#include "wandistill/error.h"

namespace wandistill {
namespace {

constexpr int64_t kAlignment = 256;  // of what a copy reads

}  // namespace

StagingRing::StagingRing(Device& device, int64_t piece_bytes) : device_(device), piece_bytes_(piece_bytes) {
  WD_REQUIRE(piece_bytes > 0 && piece_bytes % kAlignment == 0);
  for (int i = 0; i < 2; ++i) pieces_.push_back(make_piece());
}

StagingRing::Piece StagingRing::make_piece() {
  return {PinnedBuffer<char>(device_, piece_bytes_), device_.make_event()};
}

// New pieces come behind the current one: the oldest, which are next, wait longest to be written again.
void StagingRing::reserve(int64_t bytes) {
  // One more, as the oldest is in use until all of it has been read.
  const size_t wanted = static_cast<size_t>((bytes + piece_bytes_ - 1) / piece_bytes_ + 1);
  while (pieces_.size() < wanted)
    pieces_.insert(pieces_.begin() + static_cast<int64_t>(current_) + 1, make_piece());
}

void StagingRing::upload(Stream& stream, void* to, const void* from_host, int64_t bytes) {
  for (int64_t done = 0; done < bytes;) {
    if (used_ == piece_bytes_) {
      stream.record(*pieces_[current_].copied);
      current_ = (current_ + 1) % pieces_.size();
      used_ = 0;
      pieces_[current_].copied->synchronize();
    }
    char* const staged = pieces_[current_].memory.data() + used_;
    const int64_t piece = std::min(bytes - done, piece_bytes_ - used_);
    std::memcpy(staged, static_cast<const char*>(from_host) + done, static_cast<size_t>(piece));
    stream.copy(static_cast<char*>(to) + done, staged, piece);
    done += piece;
    used_ += (piece + kAlignment - 1) / kAlignment * kAlignment;
  }
}

void StagingRing::download(Stream& stream, void* to_host, const void* from, int64_t bytes) {
  // The stream's own order keeps these copies behind those that still read the pieces. Two are enough.
  int64_t asked = 0;
  size_t asking = 0, getting = 0;
  for (int64_t got = 0; got < bytes; getting ^= 1) {
    for (; asked < bytes && asked - got < 2 * piece_bytes_; asking ^= 1) {
      const int64_t piece = std::min(bytes - asked, piece_bytes_);
      stream.copy(pieces_[asking].memory.data(), static_cast<const char*>(from) + asked, piece);
      stream.record(*pieces_[asking].copied);
      asked += piece;
    }
    const int64_t piece = std::min(bytes - got, piece_bytes_);
    pieces_[getting].copied->synchronize();
    std::memcpy(static_cast<char*>(to_host) + got, pieces_[getting].memory.data(),
                static_cast<size_t>(piece));
    got += piece;
  }
  used_ = 0;  // the stream has got past all uploads
}

}  // namespace wandistill
