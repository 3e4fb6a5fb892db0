// The loop of the element-wise kernels: neighbouring elements in groups of N, one access each, where the
// tensors are aligned; one by one where not, and behind the last whole group.
#pragma once

#include <type_traits>

#include "kernels/cuda/vector.h"

namespace wandistill::WD_KERNELS {

constexpr int kElementThreads = 256;

/// A group's size as a value that templates can take.
template <int N>
using Count = std::integral_constant<int, N>;

/// Of n elements, those that worker `first` of `workers` has to do: body(i, Count<N>) for elements [i, i + N)
/// if `vectors`, body(i, Count<1>) for all others.
template <int N, class Body>
__device__ __forceinline__ void for_each(int64_t n, bool vectors, int64_t first, int64_t workers, Body body) {
  const int64_t groups = vectors ? n / N : 0;
  for (int64_t i = first; i < groups; i += workers) body(i * N, Count<N>());
  for (int64_t i = groups * N + first; i < n; i += workers) body(i, Count<1>());
}

/// The same with the grid's threads as workers.
template <int N, class Body>
__device__ __forceinline__ void for_each(int64_t n, bool vectors, Body body) {
  for_each<N>(n, vectors, int64_t{blockIdx.x} * blockDim.x + threadIdx.x, int64_t{gridDim.x} * blockDim.x,
              body);
}

/// The grid for for_each<N>: at most about what a large GPU runs at once.
template <int N>
unsigned element_blocks(int64_t n, bool vectors) {
  constexpr int64_t kMostBlocks = 1024;
  const int64_t threads = vectors ? (n + N - 1) / N : n;
  const int64_t blocks = (threads + kElementThreads - 1) / kElementThreads;
  return static_cast<unsigned>(blocks < kMostBlocks ? blocks : kMostBlocks);
}

}  // namespace wandistill::WD_KERNELS
