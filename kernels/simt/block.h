// One block of CUDA threads: a fiber each, all on one OS thread, switched where they wait for each other.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <source_location>
#include <string>
#include <vector>

#include "kernels/simt/fiber.h"
#include "kernels/simt/random.h"
#include "kernels/simt/vector_types.h"
#include "wandistill/gpu.h"

namespace wandistill::simt::engine {

using Where = std::source_location;
class Block;
struct AsyncUnits;
struct Mbarrier;

/// Of dynamic shared memory, as on Hopper, in the window that matrix descriptors address.
constexpr uint32_t kDynamicAddress = 1024;

/// "file:line".
std::string place(const Where& where);
bool same_place(const Where& a, const Where& b);

/// What all blocks of a launch share.
struct Grid {
  Grid(dim3 shape, dim3 block_shape, size_t dynamic_bytes, const SimtOptions& options,
       const std::function<void()>& kernel)
      : shape(shape),
        block_shape(block_shape),
        dynamic_bytes(dynamic_bytes),
        options(options),
        kernel(kernel) {}

  dim3 shape, block_shape;
  size_t dynamic_bytes;  // of shared memory
  const SimtOptions& options;
  const std::function<void()>& kernel;  // with its arguments
  std::mutex mutex;
  std::string error;  // of the first block that failed; guarded by mutex
};

/// Warp-wide operations; lanes that meet must be at the same one.
enum class Collective {
  kSyncwarp,
  kShuffle,
  kShuffleUp,
  kShuffleDown,
  kShuffleXor,
  kVote,
  kReduce,
  kLoadMatrix,
  kMatrixProduct,
  kWarpgroup
};

/// What a lane brings to a collective and takes from it.
struct Slot {
  alignas(16) std::byte bytes[64];
};

/// Where the lanes of one mask meet, again and again. Slots alternate: a fast lane may be at the next meeting
/// while a slow one still reads from this one.
struct Rendezvous {
  explicit Rendezvous(uint32_t mask) : mask(mask) {}

  uint32_t mask;
  uint32_t arrived = 0;
  unsigned generation = 0;
  Collective kind{};
  Where where;
  char order[2];             // the race checker's handles of "before this meeting", alternating as well
  uint32_t participants[2];  // lanes whose slots are filled
  Slot slots[2][32];
};

struct Warp {
  uint32_t live = 0;  // lanes that have not returned
  std::deque<Rendezvous> meetings;
};

struct AsyncCopy {
  void* to;
  const void* from;
  bool valid;  // else zeros are written
  int group;
};

struct Thread {
  enum class State { kReady, kAtBarrier, kAtCollective, kAtMbarrier, kAtNamedBarrier, kReturned };

  int lane() const { return number % 32; }
  Warp& warp() const;

  Fiber fiber;
  Block* block;
  int number;  // within the block
  uint3 index;
  State state;
  Where where;         // of its last barrier or collective
  const void* awaits;  // the mbarrier or named barrier
  std::vector<AsyncCopy> copies;
  int copy_group;
  int ignore_depth = 0;      // IgnoreAccesses
  void* identity = nullptr;  // for the race checker
};

/// The CUDA thread that runs on this OS thread.
inline constinit thread_local Thread* current = nullptr;

class Block {
 public:
  /// Room for `capacity` threads, used for one block after the other.
  explicit Block(int capacity);
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;
  ~Block();

  int capacity() const { return static_cast<int>(threads_.size()); }
  /// Runs block `number` of the grid. False if it failed: then grid.error says why, and this object is spent.
  bool run(Grid& grid, int64_t number);
  /// Must be called, on the OS thread that runs them, in front of the first block of a launch and behind the
  /// last.
  void start_of_launch();
  void end_of_launch();

  // Below: for the threads of the running block.

  /// The current thread waits in `state`; others run until somebody makes it ready.
  void wait(Thread::State state);
  /// The current thread lets others go first, unless the order is forward.
  void yield();
  void make_ready(Thread& thread);
  /// Those that wait in `state` for `what` can go on.
  void wake(Thread::State state, const void* what);
  void arrive_at_barrier(const Where& where);
  /// Ends the whole launch with a message. Never returns and runs no destructors: let the caller hold nothing
  /// but a moved-from `what`.
  [[noreturn]] void fail(std::string what, const Where& where);
  /// Shared memory of exactly these bytes, filled with 0xFF (NaN, -1); the same for the same key.
  void* shared(const void* key, size_t bytes);
  void* dynamic_shared() { return dynamic_.get(); }
  size_t dynamic_bytes() const;
  /// Made at first use.
  AsyncUnits& async();
  /// Of an asynchronous unit, for the race checker.
  void* unit_identity(size_t unit);

  uint3 index;
  dim3 shape, grid_shape;
  const SimtOptions* options = nullptr;

  Warp& warp(int i) { return warps_[static_cast<size_t>(i)]; }
  Thread& thread(int i) { return threads_[static_cast<size_t>(i)]; }

 private:
  struct FreeMemory {
    void operator()(void* memory) const;
  };
  using Memory = std::unique_ptr<void, FreeMemory>;
  struct SharedArray {
    const void* key;
    Memory memory;
  };

  static void entry();
  void give_up_threads();
  Memory poisoned(size_t bytes);
  void set_up(Grid& grid, int64_t number);
  [[noreturn]] void leave();
  void release_barrier_if_full();
  Thread* next();
  void let_copies_land();
  std::string describe_threads();

  Fiber host_;
  int host_ignore_depth_ = 0;
  std::vector<Thread> threads_;
  std::vector<void*> identities_;  // of fibers for the race checker, by place
  std::vector<void*> unit_identities_;
  std::vector<Warp> warps_;
  Stacks stacks_;
  unsigned rotation_ = 0;

  Grid* grid_ = nullptr;
  int count_ = 0, live_ = 0;
  std::vector<Thread*> ready_;  // a ring
  int first_ready_ = 0, ready_count_ = 0;
  Random random_;
  int at_barrier_ = 0;
  unsigned barrier_generation_ = 0;
  Where barrier_where_;
  std::unique_ptr<char[]> barrier_order_;
  Memory dynamic_;
  std::vector<SharedArray> arrays_;
  std::unique_ptr<AsyncUnits> async_;
  size_t shared_bytes_ = 0;
  bool failed_ = false;
  std::unique_ptr<char> start_order_, end_order_;
};

inline Warp& Thread::warp() const {
  return block->warp(number / 32);
}

}  // namespace wandistill::simt::engine
