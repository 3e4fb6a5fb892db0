#include "src/gpu/staging_ring.h"

#include <algorithm>
#include <cstring>

#include "wandistill/error.h"

namespace wandistill {
namespace {

constexpr int64_t kAlignment = 256;  // of what a copy reads

}  // namespace

StagingRing::StagingRing(Device& device, int64_t half_bytes) : half_bytes_(half_bytes) {
  WD_REQUIRE(half_bytes > 0 && half_bytes % kAlignment == 0);
  for (Half& half : halves_) half = {PinnedBuffer<char>(device, half_bytes), device.make_event()};
}

void StagingRing::upload(Stream& stream, void* to, const void* from_host, int64_t bytes) {
  for (int64_t done = 0; done < bytes;) {
    if (used_ == half_bytes_) {
      stream.record(*halves_[current_].copied);
      current_ ^= 1;
      used_ = 0;
      halves_[current_].copied->synchronize();
    }
    char* const staged = halves_[current_].memory.data() + used_;
    const int64_t piece = std::min(bytes - done, half_bytes_ - used_);
    std::memcpy(staged, static_cast<const char*>(from_host) + done, static_cast<size_t>(piece));
    stream.copy(static_cast<char*>(to) + done, staged, piece);
    done += piece;
    used_ += (piece + kAlignment - 1) / kAlignment * kAlignment;
  }
}

void StagingRing::download(Stream& stream, void* to_host, const void* from, int64_t bytes) {
  // The stream's own order keeps these copies behind those that still read the halves.
  int64_t asked = 0;
  int asking = current_, getting = current_;
  for (int64_t got = 0; got < bytes; getting ^= 1) {
    for (; asked < bytes && asked - got < 2 * half_bytes_; asking ^= 1) {
      const int64_t piece = std::min(bytes - asked, half_bytes_);
      stream.copy(halves_[asking].memory.data(), static_cast<const char*>(from) + asked, piece);
      stream.record(*halves_[asking].copied);
      asked += piece;
    }
    const int64_t piece = std::min(bytes - got, half_bytes_);
    halves_[getting].copied->synchronize();
    std::memcpy(static_cast<char*>(to_host) + got, halves_[getting].memory.data(),
                static_cast<size_t>(piece));
    got += piece;
  }
  used_ = 0;  // the stream has got past all uploads
}

}  // namespace wandistill
