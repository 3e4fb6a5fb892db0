// Loads and stores of several neighbouring elements in one access, as floats.
#pragma once

#include "kernels/simt/device.h"

namespace wandistill::WD_KERNELS {

/// Elements of T in 16 bytes, the widest access.
template <class T>
constexpr int kVector = 16 / static_cast<int>(sizeof(T));

template <class T, int N>
struct alignas(N * sizeof(T)) Pack {
  T element[N];
};

/// values = the N elements at `at`, which is aligned to as many bytes as they have (at most 16).
template <int N, class T>
__device__ __forceinline__ void load(const T* at, float (&values)[N]) {
  static_assert(N * sizeof(T) <= 16);
  const Pack<T, N> pack = *reinterpret_cast<const Pack<T, N>*>(at);
#pragma unroll
  for (int k = 0; k < N; ++k) values[k] = widen(pack.element[k]);
}
template <int N, class T>
__device__ __forceinline__ void store(T* at, const float (&values)[N]) {
  static_assert(N * sizeof(T) <= 16);
  Pack<T, N> pack;
#pragma unroll
  for (int k = 0; k < N; ++k) pack.element[k] = narrow<T>(values[k]);
  *reinterpret_cast<Pack<T, N>*>(at) = pack;
}

/// Whether all these addresses allow load() and store() of N elements of T.
template <int N, class... T>
bool aligned(const T*... at) {
  return ((reinterpret_cast<uintptr_t>(at) % (N * sizeof(T)) == 0) && ...);
}

}  // namespace wandistill::WD_KERNELS
