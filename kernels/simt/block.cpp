#include "kernels/simt/block.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>

#include "kernels/simt/async_units.h"
#include "kernels/simt/sanitizers.h"
#include "wandistill/error.h"

namespace wandistill::simt::engine {
namespace {

constexpr size_t kMostShared = size_t{227} << 10;  // bytes per block on sm_90

std::string print(const uint3& v) {
  return cat("(", v.x, ",", v.y, ",", v.z, ")");
}

}  // namespace

std::string place(const Where& where) {
  return where.line() ? cat(where.file_name(), ":", where.line()) : std::string("(there was none)");
}

bool same_place(const Where& a, const Where& b) {
  return a.line() == b.line() && std::strcmp(a.file_name(), b.file_name()) == 0;
}

void Block::FreeMemory::operator()(void* memory) const {
  std::free(memory);
}

Block::Block(int capacity)
    : threads_(static_cast<size_t>(capacity)),
      identities_(static_cast<size_t>(capacity)),
      warps_(static_cast<size_t>(capacity + 31) / 32),
      stacks_(capacity),
      ready_(static_cast<size_t>(capacity)),
      start_order_(new char),
      end_order_(new char) {}

Block::~Block() {
  for (void* identity : identities_) destroy_identity(identity);
  for (void* identity : unit_identities_) destroy_identity(identity);
}

Block::Memory Block::poisoned(size_t bytes) {
  if (bytes == 0) return nullptr;
  shared_bytes_ += bytes;
  // Exactly as large as asked for, so that AddressSanitizer sees what lies behind.
  void* memory = nullptr;
  if (posix_memalign(&memory, 1024, bytes)) throw std::bad_alloc();
  std::memset(memory, 0xFF, bytes);
  return Memory(memory);
}

bool Block::run(Grid& grid, int64_t number) {
  IgnoreAccesses ignore(host_ignore_depth_);
  set_up(grid, number);
  if (shared_bytes_ > kMostShared) {
    const std::lock_guard lock(grid.mutex);
    grid.error = cat("SIMT: ", shared_bytes_, " bytes of shared memory; a block has at most ", kMostShared);
    return false;
  }
  host_.adopt_thread();
  current = next();
  Fiber::change(host_, current->fiber);
  current = nullptr;
  if (failed_) give_up_threads();
  arrays_.clear();
  async_.reset();
  dynamic_.reset();
  barrier_order_.reset();
  for (Warp& warp : warps_) warp.meetings.clear();
  return !failed_;
}

void Block::give_up_threads() {
  for (int i = 0; i < count_; ++i) {
    const ActAs as(thread(i).identity);
    IgnoreAccesses::end_all(thread(i).ignore_depth);
    engine::release(end_order_.get());
  }
  for (void* identity : unit_identities_) {
    if (!identity) continue;
    const ActAs as(identity);
    engine::release(end_order_.get());
  }
}

void Block::start_of_launch() {
  engine::release(start_order_.get());
}

void Block::end_of_launch() {
  acquire(end_order_.get());
  end_order_.reset(new char);  // a new handle: launches are not ordered by using the same threads
}

void Block::set_up(Grid& grid, int64_t number) {
  grid_ = &grid;
  options = &grid.options;
  shape = grid.block_shape;
  grid_shape = grid.shape;
  const auto at = static_cast<uint64_t>(number);
  index = {static_cast<unsigned>(at % grid_shape.x), static_cast<unsigned>(at / grid_shape.x % grid_shape.y),
           static_cast<unsigned>(at / grid_shape.x / grid_shape.y)};
  count_ = live_ = static_cast<int>(shape.x * shape.y * shape.z);
  random_ = Random(options->seed * 0xD1B54A32D192ED03 + at);
  first_ready_ = ready_count_ = at_barrier_ = 0;
  barrier_generation_ = 0;
  barrier_order_.reset(new char[2]);
  failed_ = false;
  shared_bytes_ = 0;
  dynamic_ = poisoned(grid.dynamic_bytes);
  for (int w = 0; w * 32 < count_; ++w)
    warp(w).live = count_ - w * 32 >= 32 ? ~0u : (1u << (count_ - w * 32)) - 1;
  for (int i = 0; i < count_; ++i) {
    Thread& t = thread(i);
    t.block = this;
    t.number = i;
    const auto flat = static_cast<unsigned>(i);
    t.index = {flat % shape.x, flat / shape.x % shape.y, flat / shape.x / shape.y};
    t.where = Where();
    t.awaits = nullptr;
    t.copies.clear();
    t.copy_group = 0;
    // Rotated from block to block: were thread i of two blocks one and the same for the race checker, it
    // would not see races between them.
    const int slot = static_cast<int>((flat + rotation_) % static_cast<unsigned>(capacity()));
    void*& identity = identities_[static_cast<size_t>(slot)];
    if (!identity) identity = make_identity();
    t.identity = identity;
    t.fiber.set_identity(identity);
    t.fiber.prepare(stacks_[slot], Stacks::kBytes, flat, &Block::entry);
    make_ready(t);
  }
  ++rotation_;
}

void Block::entry() {
  Fiber::entered();
  acquire(current->block->start_order_.get());
  current->block->grid_->kernel();
  current->block->leave();
}

void Block::leave() {
  Thread& me = *current;
  {
    IgnoreAccesses ignore(me.ignore_depth);
    if (!me.copies.empty())
      fail("a thread returns with cp.async in flight; its last synchronisation", me.where);
    const char* unfinished = async_ ? unfinished_work(*this, live_ == 1) : nullptr;
    if (unfinished) fail(unfinished, me.where);
    me.state = Thread::State::kReturned;
    --live_;
    Warp& mine = me.warp();
    mine.live &= ~(1u << me.lane());
    // Lanes that wait for this one need not any more, but for the tensor cores, which need all 32.
    for (Rendezvous& r : mine.meetings) {
      if (!r.arrived || !(r.mask >> me.lane() & 1)) continue;
      if (r.kind == Collective::kLoadMatrix || r.kind == Collective::kMatrixProduct)
        fail("a lane returns while its warp waits for it at ldmatrix or mma", r.where);
      if (r.arrived != (r.mask & mine.live)) continue;
      r.participants[r.generation++ & 1] = r.arrived;
      for (int lane = 0; lane < 32; ++lane)
        if (r.arrived >> lane & 1) make_ready(thread(me.number / 32 * 32 + lane));
      r.arrived = 0;
    }
    release_barrier_if_full();
  }
  engine::release(end_order_.get());
  Thread* then = live_ ? next() : nullptr;
  if (live_ && !then) fail("deadlock: the others wait for a thread that has returned", me.where);
  if (then) current = then;
  Fiber::change(me.fiber, then ? then->fiber : host_, true);
  __builtin_unreachable();
}

void Block::make_ready(Thread& thread) {
  thread.state = Thread::State::kReady;
  ready_[static_cast<size_t>((first_ready_ + ready_count_++) % count_)] = &thread;
}

/// Copies come as late as they may, when no thread can go on; in random order now and then before.
void Block::let_copies_land() {
  if (!async_) return;
  IgnoreAccesses ignore(current->ignore_depth);
  const bool random = options->order == SimtOrder::kRandom;
  while (!async_->copies.empty() && (ready_count_ == 0 || (random && random_.below(1024) == 0)))
    land_a_copy(*this,
                random ? static_cast<size_t>(random_.below(static_cast<int>(async_->copies.size()))) : 0);
}

Thread* Block::next() {
  let_copies_land();
  if (ready_count_ == 0) return nullptr;
  int pick = 0;
  if (options->order == SimtOrder::kReverse) pick = ready_count_ - 1;
  if (options->order == SimtOrder::kRandom) pick = random_.below(ready_count_);
  const auto at = [&](int i) -> Thread*& { return ready_[static_cast<size_t>((first_ready_ + i) % count_)]; };
  Thread* chosen = at(pick);
  if (pick == 0)
    first_ready_ = (first_ready_ + 1) % count_;
  else
    at(pick) = at(ready_count_ - 1);
  --ready_count_;
  return chosen;
}

void Block::wake(Thread::State state, const void* what) {
  for (int i = 0; i < count_; ++i)
    if (thread(i).state == state && thread(i).awaits == what) make_ready(thread(i));
}

void Block::wait(Thread::State state) {
  Thread& me = *current;
  if (state != Thread::State::kReady) me.state = state;
  Thread* then = next();
  if (!then) fail("deadlock: no thread of the block can go on", me.where);
  if (then == &me) return;
  current = then;
  Fiber::change(me.fiber, then->fiber);
}

void Block::yield() {
  if (options->order == SimtOrder::kForward) return;
  make_ready(*current);
  wait(Thread::State::kReady);
}

void Block::arrive_at_barrier(const Where& where) {
  Thread& me = *current;
  IgnoreAccesses ignore(me.ignore_depth);
  me.where = where;
  char* order = &barrier_order_[barrier_generation_ & 1];
  engine::release(order);
  if (at_barrier_ == 0) {
    barrier_where_ = where;
  } else if (!same_place(barrier_where_, where)) {
    std::string what =
        cat("threads of one block at different __syncthreads(): ", place(barrier_where_), " and");
    fail(std::move(what), where);
  }
  ++at_barrier_;
  // Before the barrier opens, so that this thread is made ready as well.
  me.state = Thread::State::kAtBarrier;
  release_barrier_if_full();
  wait(me.state);
  acquire(order);
}

void Block::release_barrier_if_full() {
  if (at_barrier_ == 0 || at_barrier_ != live_) return;
  at_barrier_ = 0;
  ++barrier_generation_;
  for (int i = 0; i < count_; ++i)
    if (thread(i).state == Thread::State::kAtBarrier) make_ready(thread(i));
}

std::string Block::describe_threads() {
  static constexpr const char* kStates[] = {"can run, last synchronised",    "wait at __syncthreads()",
                                            "wait at a warp-wide operation", "wait for an mbarrier",
                                            "wait at a named barrier",       "have returned"};
  std::string text;
  for (int first = 0, i = 1; i <= count_; ++i) {
    const Thread &a = thread(first), &b = thread(std::min(i, count_ - 1));
    if (i < count_ && a.state == b.state && same_place(a.where, b.where)) continue;
    text += cat("\n  threads ", first, " to ", i - 1, " ", kStates[static_cast<int>(a.state)]);
    if (a.state != Thread::State::kReturned) text += cat(": ", place(a.where));
    first = i;
  }
  return text;
}

void Block::fail(std::string what, const Where& where) {
  Thread& me = *current;
  {
    IgnoreAccesses ignore(me.ignore_depth);
    const std::string text = std::move(what);  // freed here: destructors of the caller do not run
    const std::lock_guard lock(grid_->mutex);
    if (grid_->error.empty())
      grid_->error = cat("SIMT: ", text, " ", place(where), ", block ", print(index), ", thread ",
                         print(me.index), describe_threads());
    failed_ = true;
  }
  Fiber::change(me.fiber, host_, true);
  __builtin_unreachable();
}

void* Block::shared(const void* key, size_t bytes) {
  IgnoreAccesses ignore(current->ignore_depth);
  for (const SharedArray& array : arrays_)
    if (array.key == key) return array.memory.get();
  arrays_.push_back({key, poisoned(bytes)});
  if (shared_bytes_ > kMostShared)
    fail(cat(shared_bytes_, " bytes of shared memory; a block has at most ", kMostShared, "; after"),
         current->where);
  return arrays_.back().memory.get();
}

size_t Block::dynamic_bytes() const {
  return grid_->dynamic_bytes;
}

AsyncUnits& Block::async() {
  if (async_) return *async_;
  IgnoreAccesses ignore(current->ignore_depth);
  async_ = std::make_unique<AsyncUnits>();
  async_->view = std::make_unique<unsigned char[]>(dynamic_bytes());
  std::memset(async_->view.get(), 0xFF, dynamic_bytes());
  async_->warps.resize(warps_.size());
  async_->warpgroups.resize((warps_.size() + 3) / 4);
  async_->fenced.resize(threads_.size());
  async_->named.resize(threads_.size());
  return *async_;
}

void* Block::unit_identity(size_t unit) {
  if (unit >= unit_identities_.size()) unit_identities_.resize(unit + 1);
  void*& identity = unit_identities_[unit];
  if (!identity) identity = make_identity();
  return identity;
}

}  // namespace wandistill::simt::engine
