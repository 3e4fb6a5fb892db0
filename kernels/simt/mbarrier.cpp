#include "kernels/simt/mbarrier.h"

#include "kernels/simt/async_units.h"
#include "kernels/simt/sanitizers.h"
#include "wandistill/error.h"

namespace wandistill::simt::engine {
namespace {

constexpr int64_t kMostBytes = (1 << 20) - 1;  // of copies that a phase can count
constexpr unsigned kMostArrivals = (1 << 20) - 1;

/// What the barrier's own 64 bits hold, so that one that was overwritten is noticed.
uint64_t mark_of(const uint64_t* barrier) {
  return reinterpret_cast<uintptr_t>(barrier) ^ 0x6D62617272696572;
}

void complete_phase_if_full(Block& block, Mbarrier& barrier) {
  if (barrier.pending != 0 || barrier.bytes != 0) return;
  barrier.pending = barrier.arrivals;
  barrier.phase ^= 1;
  block.wake(Thread::State::kAtMbarrier, &barrier);
}

}  // namespace

Mbarrier& mbarrier_at(uint64_t* barrier, const Where& where) {
  Block& block = *current->block;
  for (Mbarrier& known : block.async().mbarriers) {
    if (known.at != barrier) continue;
    if (*barrier == mark_of(barrier)) return known;
    block.fail("an mbarrier was overwritten; used at", where);
  }
  block.fail("an mbarrier that was not initialised, at", where);
}

void init_mbarrier(uint64_t* barrier, unsigned arrivals, const Where& where) {
  Thread& me = *current;
  IgnoreAccesses ignore(me.ignore_depth);
  if (reinterpret_cast<uintptr_t>(barrier) % 8 != 0)
    me.block->fail("an mbarrier is not aligned to 8 bytes, at", where);
  if (arrivals == 0 || arrivals > kMostArrivals)
    me.block->fail("an mbarrier counts 1 to 2^20 - 1 arrivals, at", where);
  *barrier = mark_of(barrier);
  Mbarrier& made = me.block->async().mbarriers.emplace_back();
  made.at = barrier;
  made.initialised_by = me.number;
  made.arrivals = made.pending = arrivals;
  made.identity = me.block->unit_identity(me.block->async().mbarriers.size() + 31);  // behind the warps
}

void fence_mbarrier_init() {
  IgnoreAccesses ignore(current->ignore_depth);
  for (Mbarrier& barrier : current->block->async().mbarriers)
    if (barrier.initialised_by == current->number) barrier.fenced = true;
}

void arrive_at_mbarrier(uint64_t* barrier, unsigned bytes, const Where& where) {
  Thread& me = *current;
  IgnoreAccesses ignore(me.ignore_depth);
  me.where = where;
  Mbarrier& b = mbarrier_at(barrier, where);
  if (b.pending == 0) me.block->fail("more arrivals at an mbarrier than it counts in one phase, at", where);
  release(&b.order[b.phase]);
  b.bytes += bytes;
  if (b.bytes > kMostBytes) me.block->fail("an mbarrier counts 2^20 - 1 bytes at most, at", where);
  --b.pending;
  complete_phase_if_full(*me.block, b);
  me.block->yield();
}

void await_mbarrier(uint64_t* barrier, unsigned parity, const Where& where) {
  Thread& me = *current;
  IgnoreAccesses ignore(me.ignore_depth);
  me.where = where;
  Mbarrier& b = mbarrier_at(barrier, where);
  if (parity > 1) me.block->fail("a parity is 0 or 1, at", where);
  if (b.phase != parity) me.block->yield();
  // Asked again after a wake-up, as the hardware is polled: who comes two phases late waits on.
  while (b.phase == parity) {
    me.awaits = &b;
    me.block->wait(Thread::State::kAtMbarrier);
  }
  acquire(&b.order[parity]);
}

void complete_bytes(Block& block, Mbarrier& barrier, int64_t bytes) {
  barrier.bytes -= bytes;
  complete_phase_if_full(block, barrier);
}

void arrive_at_named_barrier(int id, int threads, bool wait, const Where& where) {
  Thread& me = *current;
  IgnoreAccesses ignore(me.ignore_depth);
  me.where = where;
  if (id < 1 || id > 15 || threads < 1 || threads % 32 != 0)
    me.block->fail("named barriers are 1 to 15, for whole warps, at", where);
  NamedBarrier& b = me.block->async().named_barriers[id];
  if (b.arrived == 0) b.threads = threads;
  if (b.threads != threads)
    me.block->fail("a named barrier is used with two numbers of threads, the second at", where);
  char* order = &b.order[b.generation & 1];
  release(order);
  if (++b.arrived == threads) {
    b.arrived = 0;
    ++b.generation;
    me.block->wake(Thread::State::kAtNamedBarrier, &b);
    me.block->yield();
  } else if (wait) {
    me.awaits = &b;
    me.block->wait(Thread::State::kAtNamedBarrier);
  }
  if (wait) acquire(order);
}

}  // namespace wandistill::simt::engine
