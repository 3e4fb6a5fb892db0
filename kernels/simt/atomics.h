// Atomic operations on global or shared memory, relaxed as CUDA's; they return the old value.
#pragma once

#include <cstdint>
#include <cstring>

namespace wandistill::simt {

inline int atomicAdd(int* at, int value) {
  return __atomic_fetch_add(at, value, __ATOMIC_RELAXED);
}
inline unsigned atomicAdd(unsigned* at, unsigned value) {
  return __atomic_fetch_add(at, value, __ATOMIC_RELAXED);
}
inline int atomicOr(int* at, int value) {
  return __atomic_fetch_or(at, value, __ATOMIC_RELAXED);
}
inline float atomicAdd(float* at, float value) {
  auto* bits = reinterpret_cast<uint32_t*>(at);
  uint32_t old_bits = __atomic_load_n(bits, __ATOMIC_RELAXED), new_bits;
  float old;
  do {
    std::memcpy(&old, &old_bits, sizeof old);
    const float sum = old + value;
    std::memcpy(&new_bits, &sum, sizeof sum);
  } while (!__atomic_compare_exchange_n(bits, &old_bits, new_bits, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
  return old;
}

}  // namespace wandistill::simt
