// Hopper's wrappers, one small kernel for each family.
#include "kernels/cuda/swizzled_tile.h"
#include "tests/simt/hopper_kernels.h"

namespace wandistill::WD_KERNELS {
namespace {

using simt_test::SourceOfA;

struct Place {
  int at[5];
};

__device__ __forceinline__ void load_box(bf16* to, const TensorMap& map, uint64_t* barrier, int rank,
                                         const Place& p) {
  if (rank == 2) tma_load(to, map, barrier, p.at[0], p.at[1]);
  if (rank == 3) tma_load(to, map, barrier, p.at[0], p.at[1], p.at[2]);
  if (rank == 4) tma_load(to, map, barrier, p.at[0], p.at[1], p.at[2], p.at[3]);
  if (rank == 5) tma_load(to, map, barrier, p.at[0], p.at[1], p.at[2], p.at[3], p.at[4]);
}

__global__ void tma_box_kernel(const __grid_constant__ TensorMap map, int rank, Place first, int elements,
                               bf16* out) {
  if constexpr (!kHopper) {
    trap();
  } else {
    WD_DYNAMIC_SHARED(bf16, tile);
    WD_SHARED(uint64_t, barrier, [1]);
    if (threadIdx.x == 0) {
      tma_prefetch(map);
      mbarrier_init(barrier, 1);
      mbarrier_init_fence();
      mbarrier_arrive_expect(barrier, static_cast<unsigned>(elements) * 2);
      load_box(tile, map, barrier, rank, first);
    }
    __syncthreads();
    mbarrier_wait(barrier, 0);
    for (int i = static_cast<int>(threadIdx.x); i < elements; i += static_cast<int>(blockDim.x))
      out[i] = tile[i];
  }
}

/// Two warps take turns with the tiles' rows; a third thread fetches.
__global__ void tma_ring_kernel(const __grid_constant__ TensorMap map, int tiles, bf16* out) {
  if constexpr (!kHopper) {
    trap();
  } else {
    WD_DYNAMIC_SHARED(bf16, stages);
    WD_SHARED(uint64_t, full, [2]);
    WD_SHARED(uint64_t, empty, [2]);
    const int thread = static_cast<int>(threadIdx.x), warp = thread / 32, lane = thread % 32;
    if (thread == 0) {
      for (int i = 0; i < 2; ++i) mbarrier_init(&full[i], 1), mbarrier_init(&empty[i], 2);
      mbarrier_init_fence();
    }
    __syncthreads();
    if (warp == 2) {
      if (lane != 0) return;
      for (int t = 0; t < tiles; ++t) {
        mbarrier_wait(&empty[t % 2], static_cast<unsigned>(t / 2 + 1) % 2);
        mbarrier_arrive_expect(&full[t % 2], 8 * 64 * 2);
        tma_load(stages + t % 2 * 512, map, &full[t % 2], 0, 8 * t);
      }
      return;
    }
    for (int t = 0; t < tiles; ++t) {
      mbarrier_wait(&full[t % 2], static_cast<unsigned>(t / 2) % 2);
      for (int row = warp; row < 8; row += 2)
        for (int column = lane; column < 64; column += 32)
          out[(t * 8 + row) * 64 + column] = stages[t % 2 * 512 + swizzled_index<8>(row, column)];
      __syncwarp();
      if (lane == 0) mbarrier_arrive(&empty[t % 2]);
    }
  }
}

/// A tile [kRows, columns] by ordinary stores of the warpgroup.
template <int kRows>
__device__ __forceinline__ void store_tile(bf16* tile, const bf16* from, int columns) {
  for (int i = static_cast<int>(threadIdx.x); i < kRows * columns; i += 128)
    tile[swizzled_index<kRows>(i / columns, i % columns)] = from[i];
}

template <int N, SourceOfA kFrom, bool kRowsAreK, bool kByStores>
__global__ void __launch_bounds__(128)
    warpgroup_product_kernel(const __grid_constant__ TensorMap map_a, const __grid_constant__ TensorMap map_b,
                             const bf16* a, const bf16* b, float* c) {
  if constexpr (!kHopper) {
    trap();
  } else {
    constexpr int kRowsB = kRowsAreK ? 64 : N, kColumnsB = kRowsAreK ? N : 64;
    WD_DYNAMIC_SHARED(bf16, tile_a);
    bf16* tile_b = tile_a + 64 * 64;
    WD_SHARED(uint64_t, barrier, [1]);
    const int thread = static_cast<int>(threadIdx.x), lane = thread % 32;
    if (thread == 0) {
      mbarrier_init(barrier, 1);
      mbarrier_init_fence();
    }
    if (kByStores) {
      store_tile<64>(tile_a, a, 64);
      store_tile<kRowsB>(tile_b, b, kColumnsB);
      fence_proxy_async();
    }
    __syncthreads();
    if (!kByStores) {
      if (thread == 0) {
        mbarrier_arrive_expect(barrier, (64 * 64 + N * 64) * 2);
        tma_load(tile_a, map_a, barrier, 0, 0);
        for (int column = 0; column < kColumnsB; column += 64)
          tma_load(tile_b + column * kRowsB, map_b, barrier, column, 0);
      }
      mbarrier_wait(barrier, 0);
    }
    const int row = thread / 32 * 16 + lane / 4, column = lane % 4 * 2;
    float sums[N / 8][4];
    uint32_t registers[4][4];
#pragma unroll
    for (int n = 0; n < N / 8; ++n)
#pragma unroll
      for (int e = 0; e < 4; ++e) sums[n][e] = c[(row + e / 2 * 8) * N + n * 8 + column + e % 2];
#pragma unroll
    for (int k = 0; k < 4; ++k)
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const bf16* at = a + (row + i % 2 * 8) * 64 + k * 16 + i / 2 * 8 + column;
        registers[k][i] = uint32_t{at[0].bits} | uint32_t{at[1].bits} << 16;
      }
    const uint64_t matrix_a = matrix_descriptor<64>(tile_a), matrix_b = matrix_descriptor<kRowsB>(tile_b);
    constexpr Major kMajorB = kRowsAreK ? Major::kMN : Major::kK;
    wgmma_fence(sums, registers);
#pragma unroll
    for (int k = 0; k < 64; k += 16) {
      const uint64_t at_b =
          matrix_b + (kRowsAreK ? matrix_offset<kRowsB>(k, 0) : matrix_offset<kRowsB>(0, k));
      if constexpr (kFrom == SourceOfA::kRegisters)
        wgmma<kMajorB>(sums, registers[k / 16], at_b, true);
      else if constexpr (kFrom == SourceOfA::kRowsAreK)
        wgmma<Major::kMN, kMajorB>(sums, matrix_a + matrix_offset<64>(k, 0), at_b, true);
      else
        wgmma<Major::kK, kMajorB>(sums, matrix_a + matrix_offset<64>(0, k), at_b, true);
    }
    wgmma_commit();
    wgmma_wait<0>(sums, registers);
#pragma unroll
    for (int n = 0; n < N / 8; ++n)
#pragma unroll
      for (int e = 0; e < 4; ++e) c[(row + e / 2 * 8) * N + n * 8 + column + e % 2] = sums[n][e];
  }
}

__global__ void named_barriers_kernel(int rounds, const int* in, int* out) {
  if constexpr (!kHopper) {
    trap();
  } else {
    WD_SHARED(int, values, [64]);
    const int thread = static_cast<int>(threadIdx.x);
    if (thread < 64) {
      for (int round = 0; round < rounds; ++round) {
        values[thread] = in[thread] + round;
        barrier_arrive(1, 128);
        barrier_sync(2, 128);
      }
    } else {
      for (int round = 0; round < rounds; ++round) {
        barrier_sync(1, 128);
        out[thread - 64] = values[127 - thread] + round;
        barrier_arrive(2, 128);
      }
    }
  }
}

void tma_box(int rank, const std::array<int, 5>& sizes, const std::array<int, 5>& box,
             const std::array<int, 5>& first, const bf16* in, bf16* out, const Queue& queue) {
  TileDimension d[5];
  int64_t stride = 1;
  int elements = 1;
  Place place{};
  for (size_t i = 0; i < 5; ++i) {
    d[i] = {sizes[i], stride, box[i]};
    place.at[i] = first[i];
    if (static_cast<int>(i) >= rank) continue;
    stride *= sizes[i];
    elements *= box[i];
  }
  const TensorMap map = rank == 2   ? make_tensor_map(in, {d[0], d[1]})
                        : rank == 3 ? make_tensor_map(in, {d[0], d[1], d[2]})
                        : rank == 4 ? make_tensor_map(in, {d[0], d[1], d[2], d[3]})
                                    : make_tensor_map(in, {d[0], d[1], d[2], d[3], d[4]});
  launch(queue, 1, 64, static_cast<size_t>(elements) * 2, tma_box_kernel, map, rank, place, elements, out);
}

void tma_ring(int tiles, const bf16* in, bf16* out, const Queue& queue) {
  const TensorMap map = make_tensor_map(in, {{64, 1, 64}, {tiles * 8, 64, 8}});
  launch(queue, 1, 96, 2 * 8 * 64 * 2, tma_ring_kernel, map, tiles, out);
}

template <int N, SourceOfA kFrom, bool kRowsAreK>
void launch_product(bool by_stores, const bf16* a, const bf16* b, float* c, const Queue& queue) {
  const TensorMap map_a = make_tensor_map(a, {{64, 1, 64}, {64, 64, 64}});
  const TensorMap map_b = kRowsAreK ? make_tensor_map(b, {{N, 1, 64}, {64, N, 64}})
                                    : make_tensor_map(b, {{64, 1, 64}, {N, 64, N}});
  const auto kernel = by_stores ? warpgroup_product_kernel<N, kFrom, kRowsAreK, true>
                                : warpgroup_product_kernel<N, kFrom, kRowsAreK, false>;
  launch(queue, 1, 128, (64 + N) * 64 * 2, kernel, map_a, map_b, a, b, c);
}

template <int N>
void launch_product(SourceOfA from, bool rows_are_k, bool by_stores, const bf16* a, const bf16* b, float* c,
                    const Queue& queue) {
  const auto run = [&](auto* of_columns, auto* of_rows) {
    (rows_are_k ? of_rows : of_columns)(by_stores, a, b, c, queue);
  };
  if (from == SourceOfA::kColumnsAreK)
    run(launch_product<N, SourceOfA::kColumnsAreK, false>, launch_product<N, SourceOfA::kColumnsAreK, true>);
  if (from == SourceOfA::kRowsAreK)
    run(launch_product<N, SourceOfA::kRowsAreK, false>, launch_product<N, SourceOfA::kRowsAreK, true>);
  if (from == SourceOfA::kRegisters)
    run(launch_product<N, SourceOfA::kRegisters, false>, launch_product<N, SourceOfA::kRegisters, true>);
}

void warpgroup_product(int columns, SourceOfA a_from, bool b_rows_are_k, bool by_stores, const bf16* a,
                       const bf16* b, float* c, const Queue& queue) {
  if (columns == 96)  // the others would take b in parts of 64 columns, or a in registers
    return launch_product<96, SourceOfA::kColumnsAreK, false>(by_stores, a, b, c, queue);
  (columns == 64 ? launch_product<64> : launch_product<128>)(a_from, b_rows_are_k, by_stores, a, b, c, queue);
}

void named_barriers(int rounds, const int* in, int* out, const Queue& queue) {
  launch(queue, 1, 128, 0, named_barriers_kernel, rounds, in, out);
}

}  // namespace

const simt_test::HopperKernels kHopperKernels = {tma_box, tma_ring, warpgroup_product, named_barriers};

}  // namespace wandistill::WD_KERNELS
