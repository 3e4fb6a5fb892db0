// Mistakes that the test kernels can make on purpose: each must be caught (tests/simt/mutants.sh).
#pragma once

namespace wandistill::simt_test {

enum class Fault {
  kNone,
  kNoBarrierBeforeRefill,  // tiles: shared memory is overwritten while others read it
  kNoSyncwarp,             // tiles: lanes read what other lanes of the warp write, unordered
  kRaggedRead,             // tiles: keys behind the last are read
  kSharedIndex,            // tiles: an index beyond a shared array
  kNoCopyWait,             // tensor cores: cp.async is not waited for
  kNoTrailingBarrier,      // tensor cores: a double buffer is refilled while others read it
  kNoMask,                 // tensor cores: keys behind the last count
  kDivergentBarrier,       // tensor cores: one warp skips a barrier
  kSharedTooSmall,         // tensor cores: 32 bytes of dynamic shared memory are missing
  kNoAtomic,               // column sums: += instead of atomicAdd between blocks
  kMisaligned,             // column sums: float4 loads from rows that are not aligned
  kNoEvent,                // streams: a kernel does not wait for the copy of its input
  kNoEventBack,            // streams: an input is overwritten before the kernel has read it
  kEarlyHostWrite,         // streams: the host fills a pinned buffer again without waiting
};

struct NamedFault {
  const char* name;
  Fault fault;
};
inline constexpr NamedFault kFaults[] = {
    {"none", Fault::kNone},
    {"no_barrier_before_refill", Fault::kNoBarrierBeforeRefill},
    {"no_syncwarp", Fault::kNoSyncwarp},
    {"ragged_read", Fault::kRaggedRead},
    {"shared_index", Fault::kSharedIndex},
    {"no_copy_wait", Fault::kNoCopyWait},
    {"no_trailing_barrier", Fault::kNoTrailingBarrier},
    {"no_mask", Fault::kNoMask},
    {"divergent_barrier", Fault::kDivergentBarrier},
    {"shared_too_small", Fault::kSharedTooSmall},
    {"no_atomic", Fault::kNoAtomic},
    {"misaligned", Fault::kMisaligned},
    {"no_event", Fault::kNoEvent},
    {"no_event_back", Fault::kNoEventBack},
    {"early_host_write", Fault::kEarlyHostWrite},
};

}  // namespace wandistill::simt_test
