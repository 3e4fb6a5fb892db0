// Warp-wide operations of the SIMT layer: __syncwarp, shuffles, votes, integer reductions. As on the GPU,
// every lane that the mask names must come, to the same place in the source; shuffles and votes order no
// memory.
#pragma once

#include <cstdint>
#include <type_traits>

#include "kernels/simt/block.h"

namespace wandistill::simt {
namespace engine {

/// Brings `bytes` bytes to the lanes of `mask`. Returns the slots of all lanes when all are there; the last
/// to come runs `last` on them before. participants: the lanes whose slots are filled.
Slot* meet(uint32_t mask, Collective kind, const void* in, size_t bytes, const Where& where,
           uint32_t* participants = nullptr, void (*last)(Slot* slots) = nullptr);

/// *value becomes that of lane `source`.
void shuffle(uint32_t mask, void* value, size_t bytes, int source, Collective kind, const Where& where);
uint32_t ballot(uint32_t mask, bool predicate, const Where& where);
void sync_warp(uint32_t mask, const Where& where);

/// The values of all lanes, of which the returned ones take part.
uint32_t gather(uint32_t mask, uint32_t value, uint32_t (&values)[32], const Where& where);

template <class T, class Combine>
T reduce(uint32_t mask, T value, const Where& where, Combine combine) {
  static_assert(std::is_same_v<T, int> || std::is_same_v<T, unsigned>, "as on sm_80: 32-bit integers alone");
  uint32_t values[32];
  const uint32_t participants = gather(mask, static_cast<uint32_t>(value), values, where);
  for (int lane = 0; lane < 32; ++lane)
    if (lane != current->lane() && (participants >> lane & 1))
      value = combine(value, static_cast<T>(values[lane]));
  return value;
}

}  // namespace engine

inline void __syncwarp(unsigned mask = ~0u, engine::Where where = engine::Where::current()) {
  engine::sync_warp(mask, where);
}

template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32,
              engine::Where where = engine::Where::current()) {
  const int lane = engine::current->lane();
  engine::shuffle(mask, &value, sizeof value, lane / width * width + (source & (width - 1)),
                  engine::Collective::kShuffle, where);
  return value;
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32,
                  engine::Where where = engine::Where::current()) {
  const int lane = engine::current->lane(), source = lane ^ bits;
  engine::shuffle(mask, &value, sizeof value, source / width > lane / width ? lane : source,
                  engine::Collective::kShuffleXor, where);
  return value;
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32,
                   engine::Where where = engine::Where::current()) {
  const int lane = engine::current->lane(), by = static_cast<int>(delta);
  engine::shuffle(mask, &value, sizeof value, lane % width + by < width ? lane + by : lane,
                  engine::Collective::kShuffleDown, where);
  return value;
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32,
                 engine::Where where = engine::Where::current()) {
  const int lane = engine::current->lane(), by = static_cast<int>(delta);
  engine::shuffle(mask, &value, sizeof value, lane % width >= by ? lane - by : lane,
                  engine::Collective::kShuffleUp, where);
  return value;
}

inline unsigned __ballot_sync(unsigned mask, int predicate, engine::Where where = engine::Where::current()) {
  return engine::ballot(mask, predicate != 0, where);
}
inline int __any_sync(unsigned mask, int predicate, engine::Where where = engine::Where::current()) {
  return engine::ballot(mask, predicate != 0, where) != 0;
}
inline int __all_sync(unsigned mask, int predicate, engine::Where where = engine::Where::current()) {
  return engine::ballot(mask, predicate == 0, where) == 0;
}

template <class T>
T __reduce_add_sync(unsigned mask, T value, engine::Where where = engine::Where::current()) {
  return engine::reduce(mask, value, where, [](T a, T b) {
    return static_cast<T>(static_cast<unsigned>(a) + static_cast<unsigned>(b));
  });
}
template <class T>
T __reduce_min_sync(unsigned mask, T value, engine::Where where = engine::Where::current()) {
  return engine::reduce(mask, value, where, [](T a, T b) { return b < a ? b : a; });
}
template <class T>
T __reduce_max_sync(unsigned mask, T value, engine::Where where = engine::Where::current()) {
  return engine::reduce(mask, value, where, [](T a, T b) { return b > a ? b : a; });
}

}  // namespace wandistill::simt
