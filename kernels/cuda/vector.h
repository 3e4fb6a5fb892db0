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
/// values = the eight bf16 in 16 bytes.
__device__ __forceinline__ void unpack(const uint4& words, float (&values)[8]) {
  const uint32_t word[4] = {words.x, words.y, words.z, words.w};
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    values[2 * k] = __uint_as_float(word[k] << 16);
    values[2 * k + 1] = __uint_as_float(word[k] & 0xFFFF0000);
  }
}
/// The N elements at `at`, aligned as for load(), = values.
template <int N, class T>
__device__ __forceinline__ void store(T* at, const float (&values)[N]) {
  static_assert(N * sizeof(T) <= 16);
  if constexpr (sizeof(T) == 2 && N == 8) {
    store16(at, make_uint4(pack2<T>(values[0], values[1]), pack2<T>(values[2], values[3]),
                           pack2<T>(values[4], values[5]), pack2<T>(values[6], values[7])));
  } else if constexpr (sizeof(T) == 4 && N == 4) {
    store16(at, make_uint4(__float_as_uint(values[0]), __float_as_uint(values[1]), __float_as_uint(values[2]),
                           __float_as_uint(values[3])));
  } else {
    Pack<T, N> pack;
#pragma unroll
    for (int k = 0; k < N; ++k) pack.element[k] = narrow<T>(values[k]);
    *reinterpret_cast<Pack<T, N>*>(at) = pack;
  }
}

/// Whether all these addresses allow load() and store() of N elements of T.
template <int N, class... T>
bool aligned(const T*... at) {
  return ((reinterpret_cast<uintptr_t>(at) % (N * sizeof(T)) == 0) && ...);
}

}  // namespace wandistill::WD_KERNELS
