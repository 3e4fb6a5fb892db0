// Memory that the ranks of a node have in common.
#pragma once

#include <mpi.h>

#include <cstdint>
#include <exception>
#include <string>

#include "wandistill/buffer.h"
#include "wandistill/session.h"

namespace wandistill {

/// An MPI-3 shared window; plain memory, every rank's own, where no node has several ranks, MPI offers no
/// such windows, or the limit of file sizes (ulimit -f) forbids them. Movable, not copyable.
class NodeMemory {
 public:
  NodeMemory() = default;
  /// Uninitialised, 64-byte aligned. `what` it is for ("the teacher's experts"), in messages. Null session:
  /// of a program of one process. Collective; CollectiveError if a node has too little memory, or too little
  /// of it in /dev/shm, where windows of several ranks are.
  NodeMemory(Session* session, int64_t bytes, const std::string& what);
  NodeMemory(NodeMemory&& other) noexcept { *this = std::move(other); }
  NodeMemory& operator=(NodeMemory&& other) noexcept;
  /// Collective over the ranks of the node, unless an error unwinds the stack: then it stays until the
  /// process ends.
  ~NodeMemory();

  char* data() { return data_; }
  const char* data() const { return data_; }
  /// The ranks that have it in common, and which of them this one is.
  int ranks() const { return ranks_; }
  int rank() const { return rank_; }
  /// To be called by the writer after writing, and by the reader, with a collective call between the two.
  void sync() const;

 private:
  bool share(Session& session);

  Buffer<char> own_;
  MPI_Win window_ = MPI_WIN_NULL;
  char* data_ = nullptr;
  int64_t size_ = 0;
  int ranks_ = 1, rank_ = 0;
  int exceptions_ = std::uncaught_exceptions();
};

}  // namespace wandistill
