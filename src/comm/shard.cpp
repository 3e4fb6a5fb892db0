#include "wandistill/shard.h"

#include <algorithm>

#include "bucket_plan.h"
#include "wandistill/device_collectives.h"

namespace wandistill {

Range piece_of(int64_t count, int world_size, int rank) {
  const int64_t each = count / world_size;
  return {rank * each, rank == world_size - 1 ? count : (rank + 1) * each};
}

Shard Shard::whole(int64_t total) {
  Shard shard;
  shard.pieces_ = {{{0, total}, {0, total}, 0}};
  shard.size_ = total;
  shard.whole_ = true;
  return shard;
}

Shard::Shard(const std::vector<Range>& order, int64_t bucket_bytes, int world_size, int rank) {
  const BucketPlan plan(order, bucket_bytes);
  for (int64_t i = 0; i < plan.count(); ++i) {
    const Range bucket = plan.bucket(i);
    const Range piece = piece_of(bucket.size(), world_size, rank);
    pieces_.push_back({bucket, {bucket.begin + piece.begin, bucket.begin + piece.end}, size_});
    size_ += piece.size();
  }
}

void Shard::keep(Range where, const float* values, float* kept) const {
  for (const Piece& piece : pieces_) {
    const int64_t begin = std::max(where.begin, piece.own.begin), end = std::min(where.end, piece.own.end);
    if (begin < end)
      std::copy(values + (begin - where.begin), values + (end - where.begin),
                kept + piece.at + (begin - piece.own.begin));
  }
}

Buffer<float> Shard::kept(Buffer<float> whole) const {
  if (whole_) return whole;
  Buffer<float> own(size_);
  keep({0, whole.size()}, whole.data(), own.data());
  return own;
}

void gather_pieces(const Session& session, const Shard& shard, float* flat) {
  // Calls of many bytes are made when all ranks are there (collectives.cpp).
  MPI_Request all_there;
  WD_MPI(MPI_Ibarrier(session.comm(), &all_there));
  session.wait(&all_there, "a gather of the ranks' shards");
  std::vector<int> counts(static_cast<size_t>(session.world_size())), offsets(counts.size());
  for (const Shard::Piece& piece : shard.pieces()) {
    for (size_t r = 0; r < counts.size(); ++r) {
      const Range own = piece_of(piece.bucket.size(), session.world_size(), static_cast<int>(r));
      counts[r] = static_cast<int>(own.size());
      offsets[r] = static_cast<int>(own.begin);
    }
    WD_MPI(MPI_Allgatherv(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, flat + piece.bucket.begin, counts.data(),
                          offsets.data(), MPI_FLOAT, session.comm()));
  }
}

void gather_pieces(DeviceCollectives& collectives, const Shard& shard, void* flat, int64_t element_bytes,
                   Stream& stream) {
  for (const Shard::Piece& piece : shard.pieces())
    collectives.all_gather_pieces(static_cast<char*>(flat) + piece.bucket.begin * element_bytes,
                                  piece.bucket.size(), element_bytes, stream);
}

}  // namespace wandistill
