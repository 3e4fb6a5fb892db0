// Which part of a flat buffer of parameters each rank keeps where the ranks share it (ZeRO stage 1,
// Rajbhandari et al. 2020).
#pragma once

#include <cstdint>
#include <vector>

#include "wandistill/buffer.h"
#include "wandistill/range.h"

namespace wandistill {

class DeviceCollectives;
class Session;
class Stream;

/// Of `count` numbers, those of rank r of W: count / W each, the last rank's has the rest too. (Reductions of
/// GPUs take pieces of one size.)
Range piece_of(int64_t count, int world_size, int rank);

/// What one rank keeps of a flat buffer: a piece of every bucket of gradients, so that each bucket's sums can
/// go to those who keep them as soon as they are there.
class Shard {
 public:
  struct Piece {
    Range bucket, own;  // in the flat buffer
    int64_t at;         // where `own` lies in what the rank keeps
  };

  /// Every rank keeps everything, where it is.
  static Shard whole(int64_t total);
  /// order, bucket_bytes: as GradientBuckets cuts them.
  Shard(const std::vector<Range>& order, int64_t bucket_bytes, int world_size, int rank);

  bool is_whole() const { return whole_; }
  /// Numbers that the rank keeps.
  int64_t size() const { return size_; }
  /// By bucket, in the order in which these are summed; some may be empty.
  const std::vector<Piece>& pieces() const { return pieces_; }
  /// Of `values`, which lie at `where` in the flat buffer, copies to kept [size()] what the rank keeps.
  void keep(Range where, const float* values, float* kept) const;
  /// What the rank keeps of a whole buffer.
  Buffer<float> kept(Buffer<float> whole) const;

 private:
  Shard() = default;

  std::vector<Piece> pieces_;
  int64_t size_ = 0;
  bool whole_ = false;
};

/// Every rank has its own pieces in `flat`, and then has all of them. Collective. On the host; waits as the
/// session's collectives do.
void gather_pieces(const Session& session, const Shard& shard, float* flat);
/// The same for elements of so many bytes in device memory, enqueued.
void gather_pieces(DeviceCollectives& collectives, const Shard& shard, void* flat, int64_t element_bytes,
                   Stream& stream);

}  // namespace wandistill
