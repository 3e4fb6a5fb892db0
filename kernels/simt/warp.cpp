#include "kernels/simt/warp.h"

#include <algorithm>
#include <cstring>

#include "kernels/simt/sanitizers.h"
#include "wandistill/error.h"

namespace wandistill::simt::engine {
namespace {

Rendezvous& rendezvous_of(Warp& warp, uint32_t mask) {
  for (Rendezvous& r : warp.meetings)
    if (r.mask == mask) return r;
  return warp.meetings.emplace_back(mask);
}

/// Notes that the current lane is at r; returns which of the two halves of its slots it uses.
unsigned arrive(Rendezvous& r, Collective kind, const void* in, size_t bytes, const Where& where) {
  Thread& me = *current;
  if (!(r.mask >> me.lane() & 1)) me.block->fail("a lane calls with a mask that does not name it", where);
  if (!r.arrived) {
    r.kind = kind;
    r.where = where;
  } else if (r.kind != kind || !same_place(r.where, where)) {
    std::string what = cat("lanes of one warp at different operations: ", place(r.where), " and");
    me.block->fail(std::move(what), where);
  }
  const unsigned half = r.generation & 1;
  if (bytes) std::memcpy(r.slots[half][me.lane()].bytes, in, bytes);
  r.arrived |= 1u << me.lane();
  return half;
}

/// Waits for the others, or lets them go if all are there.
void await_others(Rendezvous& r, unsigned half, void (*last)(Slot*)) {
  Thread& me = *current;
  if (r.arrived != (r.mask & me.warp().live)) {
    me.block->wait(Thread::State::kAtCollective);
    return;
  }
  if (last) last(r.slots[half]);
  r.participants[half] = r.arrived;
  ++r.generation;
  for (int lane = 0; lane < 32; ++lane)
    if (lane != me.lane() && (r.arrived >> lane & 1))
      me.block->make_ready(me.block->thread(me.number / 32 * 32 + lane));
  r.arrived = 0;
  me.block->yield();
}

}  // namespace

Slot* meet(uint32_t mask, Collective kind, const void* in, size_t bytes, const Where& where,
           uint32_t* participants, void (*last)(Slot*)) {
  Thread& me = *current;
  IgnoreAccesses ignore(me.ignore_depth);
  me.where = where;
  Rendezvous& r = rendezvous_of(me.warp(), mask);
  const unsigned half = arrive(r, kind, in, bytes, where);
  await_others(r, half, last);
  if (participants) *participants = r.participants[half];
  return r.slots[half];
}

void shuffle(uint32_t mask, void* value, size_t bytes, int source, Collective kind, const Where& where) {
  if (bytes > 8) current->block->fail("a shuffle takes at most 8 bytes", where);
  uint32_t participants;
  const Slot* slots = meet(mask, kind, value, bytes, where, &participants);
  if (source < 0 || source > 31 || !(participants >> source & 1))
    current->block->fail(cat("a shuffle reads lane ", source, ", which does not take part"), where);
  IgnoreAccesses ignore(current->ignore_depth);
  std::memcpy(value, slots[source].bytes, bytes);
}

uint32_t gather(uint32_t mask, uint32_t value, uint32_t (&values)[32], const Where& where) {
  uint32_t participants;
  const Slot* slots = meet(mask, Collective::kReduce, &value, sizeof value, where, &participants);
  IgnoreAccesses ignore(current->ignore_depth);
  for (int lane = 0; lane < 32; ++lane) std::memcpy(&values[lane], slots[lane].bytes, sizeof value);
  return participants;
}

uint32_t ballot(uint32_t mask, bool predicate, const Where& where) {
  uint32_t participants, result = 0;
  const Slot* slots = meet(mask, Collective::kVote, &predicate, sizeof predicate, where, &participants);
  for (int lane = 0; lane < 32; ++lane)
    if (participants >> lane & 1) result |= static_cast<uint32_t>(slots[lane].bytes[0]) << lane;
  return result;
}

void sync_warp(uint32_t mask, const Where& where) {
  Thread& me = *current;
  IgnoreAccesses ignore(me.ignore_depth);
  me.where = where;
  Rendezvous& r = rendezvous_of(me.warp(), mask);
  char* order = &r.order[r.generation & 1];
  release(order);
  await_others(r, arrive(r, Collective::kSyncwarp, nullptr, 0, where), nullptr);
  acquire(order);
}

}  // namespace wandistill::simt::engine
