// Barriers in shared memory that count arrivals and bytes of bulk copies (PTX ISA, "mbarrier"), and the named
// barriers bar.sync and bar.arrive. What has arrived at a barrier is ordered before what waits for it.
#pragma once

#include <cstdint>

#include "kernels/simt/block.h"

namespace wandistill::simt {
namespace engine {

void init_mbarrier(uint64_t* barrier, unsigned arrivals, const Where& where);
/// The current thread arrives, after `bytes` more are expected from bulk copies in this phase.
void arrive_at_mbarrier(uint64_t* barrier, unsigned bytes, const Where& where);
void await_mbarrier(uint64_t* barrier, unsigned parity, const Where& where);
void fence_mbarrier_init();
void arrive_at_named_barrier(int id, int threads, bool wait, const Where& where);

/// The barrier that lies there; refused if there is none.
Mbarrier& mbarrier_at(uint64_t* barrier, const Where& where);
/// `bytes` of bulk copies are there.
void complete_bytes(Block& block, Mbarrier& barrier, int64_t bytes);

}  // namespace engine

/// Every phase of the barrier ends with this many arrivals, and when the expected bytes are there.
inline void mbarrier_init(uint64_t* barrier, unsigned arrivals,
                          engine::Where where = engine::Where::current()) {
  engine::init_mbarrier(barrier, arrivals, where);
}
/// For bulk copies to see the barriers that this thread has initialised; other threads need __syncthreads().
inline void mbarrier_init_fence() {
  engine::fence_mbarrier_init();
}
inline void mbarrier_arrive(uint64_t* barrier, engine::Where where = engine::Where::current()) {
  engine::arrive_at_mbarrier(barrier, 0, where);
}
/// The same, when this phase also has to wait for `bytes` bytes of bulk copies.
inline void mbarrier_arrive_expect(uint64_t* barrier, unsigned bytes,
                                   engine::Where where = engine::Where::current()) {
  engine::arrive_at_mbarrier(barrier, bytes, where);
}
/// Returns when the present phase is not the one of this parity: the first has 0, the one that counts as
/// complete before it 1.
inline void mbarrier_wait(uint64_t* barrier, unsigned parity,
                          engine::Where where = engine::Where::current()) {
  engine::await_mbarrier(barrier, parity, where);
}

/// Of `threads` threads, whole warps, that come to barrier `id` (1 to 15), those who sync wait for all.
inline void barrier_sync(int id, int threads, engine::Where where = engine::Where::current()) {
  engine::arrive_at_named_barrier(id, threads, true, where);
}
inline void barrier_arrive(int id, int threads, engine::Where where = engine::Where::current()) {
  engine::arrive_at_named_barrier(id, threads, false, where);
}

}  // namespace wandistill::simt
