// The work that one rank may take: what is missing in a folder and nobody else has claimed.
#pragma once

#include <deque>
#include <functional>
#include <string>
#include <vector>

#include "src/teacher/leases.h"

namespace wandistill {

class WorkList {
 public:
  /// keys: of the missing pieces of work, piece i by keys[i]; claimed by these names. present(i): has it come
  /// into the folder; refresh: looks anew. A rank begins with its own pieces (rank, rank + W, ...), from the
  /// first on, and then takes those of the next rank, from the last on, and so forth.
  WorkList(Leases& leases, std::vector<std::string> keys, int rank, int world_size,
           std::function<void()> refresh, std::function<bool(int64_t)> present);

  /// Claims up to `most` pieces, of the own share alone while some of it has not been tried. Nothing: all
  /// that is missing is claimed (or nothing is missing).
  std::vector<int64_t> take(int64_t most);
  /// The claims on these pieces end: they are in the folder, or are given up.
  void release(const std::vector<int64_t>& pieces);

  struct Others {
    int64_t pieces = 0;  // that other jobs are at work on
    std::string who;     // one of them
    bool free = false;   // pieces have become free: take() again
  };
  /// To be asked when take() gives nothing and this rank holds no claims. Pieces of the dead become free. No
  /// pieces and none free: all is there, or other ranks of this job are at it.
  Others others();

 private:
  Leases& leases_;
  std::vector<std::string> keys_;
  std::function<void()> refresh_;
  std::function<bool(int64_t)> present_;
  std::deque<int64_t> waiting_;  // in the order in which they are tried
  size_t own_ = 0;               // so many of the first are of the own share and have not been tried
};

}  // namespace wandistill
