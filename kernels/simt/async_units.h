// What Hopper's asynchronous units do for a block while its threads go on: bulk copies, and products of
// warpgroups.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <list>
#include <memory>
#include <vector>

#include "kernels/simt/block.h"
#include "kernels/simt/tma.h"

namespace wandistill::simt::engine {

struct Mbarrier {
  uint64_t* at = nullptr;
  int initialised_by = 0;    // a thread's number
  bool fenced = false;       // bulk copies see it
  unsigned arrivals = 0;     // of a phase
  unsigned pending = 0;      // arrivals of this phase that are missing
  int64_t bytes = 0;         // of copies, expected in this phase and not there yet
  unsigned phase = 0;        // its parity
  char order[2];             // the race checker's handles, per parity
  char issue_order;          // of what was done before a copy was issued
  void* identity = nullptr;  // for the race checker: of the unit that does its copies
};

struct NamedBarrier {
  int threads = 0;
  int arrived = 0;
  unsigned generation = 0;
  char order[2];
};

/// A box of a tensor on its way to shared memory.
struct BulkCopy {
  unsigned char* to;
  TensorMap map;
  Mbarrier* barrier;
  std::array<int, 5> first;  // element of the tensor, innermost dimension first
};

/// Registers that a thread names in a fence or a wait.
struct Registers {
  void* at;
  size_t bytes;
  bool hold(const void* other) const {
    return other >= at && other < static_cast<const std::byte*>(at) + bytes;
  }
};
/// As a fence found them.
struct FencedRegisters {
  Registers registers;
  std::unique_ptr<std::byte[]> values;
};

/// A matrix in shared memory as a product finds it.
struct SharedOperand {
  uint64_t descriptor;
  bool rows_contiguous;  // MN-major
};

/// One warp's accumulator, [16, columns]: 16 rows of the warpgroup's 64.
struct WarpAccumulator {
  float* at[32];  // per lane
  int columns;
  bool fenced = true;  // in all lanes
  int unfinished = 0;  // products
  std::vector<float> values;
};
/// One warp's A in registers, for one product.
struct WarpFragments {
  uint32_t* at[32];
  uint32_t values[32][4];
  bool finished = false;
};
struct WarpProduct {
  WarpAccumulator* sums;
  WarpFragments* fragments;  // null: a
  SharedOperand a, b;
  int warp;  // within the warpgroup
  int group;
  bool accumulate;
  bool computed = false;
};
struct WarpUnit {
  std::deque<WarpProduct> products;
  std::list<WarpAccumulator> sums;
  std::list<WarpFragments> fragments;
  int group = 0;
  size_t issued = 0;
  char issue_order, done_order;
  void* identity = nullptr;
};

/// What all four warps of a warpgroup have to issue alike.
struct IssuedProduct {
  Where where;
  uint64_t a, b;
  bool accumulate;
};

struct AsyncUnits {
  std::deque<Mbarrier> mbarriers;
  std::array<NamedBarrier, 16> named_barriers;
  std::deque<BulkCopy> copies;  // in flight

  /// Dynamic shared memory as the units see it: ordinary stores get there by fence_proxy_async().
  std::unique_ptr<unsigned char[]> view;
  size_t view_bytes = 0;
  bool stores_fenced = false;

  std::deque<WarpUnit> warps;
  std::vector<std::vector<IssuedProduct>> warpgroups;
  // Per thread: since its last wait, and by its last wait.
  std::vector<std::vector<FencedRegisters>> fenced;
  std::vector<std::vector<Registers>> named;
};

/// Lets a copy in flight land.
void land_a_copy(Block& block, size_t which);
/// What is wrong with the current thread returning now, the last of its block or not; null: nothing.
const char* unfinished_work(Block& block, bool last);

}  // namespace wandistill::simt::engine
