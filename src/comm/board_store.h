// The two places where a RankBoard can be kept.
#pragma once

#include <mpi.h>

#include <cstdint>
#include <memory>
#include <vector>

namespace wandistill {

struct BoardEntry {
  double time = 0;  // of posting: system clock, seconds since the epoch
  char text[120] = "";
};

struct BoardStore {
  virtual ~BoardStore() = default;  // collective
  /// This rank's entry. Does not wait for rank 0.
  virtual void post(const BoardEntry& entry) = 0;
  /// All entries; false if rank 0 does not answer.
  virtual bool read(std::vector<BoardEntry>* entries) = 0;
  virtual int64_t fetch_add(int64_t slot, int64_t value) = 0;
  virtual void store(int64_t slot, int64_t value) = 0;
  virtual bool direct() const = 0;
};

/// Both are collective over comm, which outlives the store; all slots are 0. In memory that all ranks of comm
/// share; null, on every rank, if there is no such memory.
std::unique_ptr<BoardStore> window_store(MPI_Comm comm, int64_t slots);
/// In rank 0's own memory, kept by a thread of it. For one rank: without thread.
std::unique_ptr<BoardStore> message_store(MPI_Comm comm, int64_t slots);

}  // namespace wandistill
