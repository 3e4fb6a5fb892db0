// Hopper's instructions (sm_90a): mbarriers, bulk copies, warpgroup products. The other side of these
// wrappers, with what they mean, is in kernels/simt: mbarrier.h, tma.h, warpgroup.h.
#pragma once

#include <cuda.h>

#include <cstdint>
#include <initializer_list>

#include "kernels/simt/ptx.h"
#include "kernels/simt/tile_dimension.h"

namespace wandistill::cuda {

/// Whether the code that is being made is for Hopper. In other code none of these wrappers may be reached:
/// kernels that use them have their body behind `if constexpr (kHopper)`.
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
constexpr bool kHopper = true;
#else
constexpr bool kHopper = false;
#endif
/// What such a kernel does in other code.
__device__ __forceinline__ void trap() {
  asm volatile("trap;\n");
}

// ---- mbarriers and named barriers
__device__ __forceinline__ void mbarrier_init(uint64_t* barrier, unsigned arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;\n" ::"r"(shared_address(barrier)), "r"(arrivals)
               : "memory");
}
__device__ __forceinline__ void mbarrier_init_fence() {
  asm volatile("fence.mbarrier_init.release.cluster;\n" ::: "memory");
}
__device__ __forceinline__ void mbarrier_arrive(uint64_t* barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];\n" ::"r"(shared_address(barrier)) : "memory");
}
__device__ __forceinline__ void mbarrier_arrive_expect(uint64_t* barrier, unsigned bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;\n" ::"r"(shared_address(barrier)),
               "r"(bytes)
               : "memory");
}
__device__ __forceinline__ void mbarrier_wait(uint64_t* barrier, unsigned parity) {
  asm volatile(
      "{\n"
      ".reg .pred done;\n"
      "again:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
      "@!done bra again;\n"
      "}\n" ::"r"(shared_address(barrier)),
      "r"(parity)
      : "memory");
}
__device__ __forceinline__ void barrier_sync(int id, int threads) {
  asm volatile("bar.sync %0, %1;\n" ::"r"(id), "r"(threads) : "memory");
}
__device__ __forceinline__ void barrier_arrive(int id, int threads) {
  asm volatile("bar.arrive %0, %1;\n" ::"r"(id), "r"(threads) : "memory");
}

// ---- Bulk copies
using TensorMap = CUtensorMap;
/// Error if the driver refuses it.
TensorMap make_tensor_map(const bf16* tensor, std::initializer_list<TileDimension> dimensions);

#define WD_TMA_LOAD(rank, place, ...)                                                         \
  asm volatile("cp.async.bulk.tensor." rank                                                   \
               ".shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {" place \
               "}], [%2];\n" ::"r"(shared_address(to)),                                       \
               "l"(&map), "r"(shared_address(barrier)), __VA_ARGS__                           \
               : "memory")
__device__ __forceinline__ void tma_load(void* to, const TensorMap& map, uint64_t* barrier, int x, int y) {
  WD_TMA_LOAD("2d", "%3, %4", "r"(x), "r"(y));
}
__device__ __forceinline__ void tma_load(void* to, const TensorMap& map, uint64_t* barrier, int x, int y,
                                         int z) {
  WD_TMA_LOAD("3d", "%3, %4, %5", "r"(x), "r"(y), "r"(z));
}
__device__ __forceinline__ void tma_load(void* to, const TensorMap& map, uint64_t* barrier, int x, int y,
                                         int z, int u) {
  WD_TMA_LOAD("4d", "%3, %4, %5, %6", "r"(x), "r"(y), "r"(z), "r"(u));
}
__device__ __forceinline__ void tma_load(void* to, const TensorMap& map, uint64_t* barrier, int x, int y,
                                         int z, int u, int v) {
  WD_TMA_LOAD("5d", "%3, %4, %5, %6, %7", "r"(x), "r"(y), "r"(z), "r"(u), "r"(v));
}
#undef WD_TMA_LOAD
__device__ __forceinline__ void tma_prefetch(const TensorMap& map) {
  asm volatile("prefetch.tensormap [%0];\n" ::"l"(&map) : "memory");
}
__device__ __forceinline__ void fence_proxy_async() {
  asm volatile("fence.proxy.async.shared::cta;\n" ::: "memory");
}

// ---- Warpgroup products
enum class Major { kK, kMN };

#define WD_ROW(n) "+f"(d[n][0]), "+f"(d[n][1]), "+f"(d[n][2]), "+f"(d[n][3])
#define WD_ROWS(n)                                                                                     \
  WD_ROW(n), WD_ROW(n + 1), WD_ROW(n + 2), WD_ROW(n + 3), WD_ROW(n + 4), WD_ROW(n + 5), WD_ROW(n + 6), \
      WD_ROW(n + 7)
#define WD_LOWER                                                                     \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, " \
  "%18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define WD_MIDDLE "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47"
#define WD_UPPER WD_MIDDLE ", %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
// places: of the accumulators and of a, then those of b, accumulate and the transposes.
#define WD_WGMMA(columns, places, accumulate_at, transposes)                                                \
  "{\n"                                                                                                     \
  ".reg .pred accumulate;\n"                                                                                \
  "setp.ne.b32 accumulate, " accumulate_at                                                                  \
  ", 0;\n"                                                                                                  \
  "wgmma.mma_async.sync.aligned.m64n" columns "k16.f32.bf16.bf16 " places ", accumulate, 1, 1, " transposes \
  ";\n"                                                                                                     \
  "}\n"

template <Major kA, Major kB, int N8>
__device__ __forceinline__ void wgmma(float (&d)[N8][4], uint64_t a, uint64_t b, bool accumulate) {
  static_assert(N8 == 8 || N8 == 12 || N8 == 16);
  if constexpr (N8 == 8)
    asm volatile(WD_WGMMA("64", "{" WD_LOWER "}, %32, %33", "%34", "%35, %36")
                 : WD_ROWS(0)
                 : "l"(a), "l"(b), "r"(int{accumulate}), "n"(int{kA == Major::kMN}),
                   "n"(int{kB == Major::kMN}));
  else if constexpr (N8 == 12)
    asm volatile(WD_WGMMA("96", "{" WD_LOWER ", " WD_MIDDLE "}, %48, %49", "%50", "%51, %52")
                 : WD_ROWS(0), WD_ROW(8), WD_ROW(9), WD_ROW(10), WD_ROW(11)
                 : "l"(a), "l"(b), "r"(int{accumulate}), "n"(int{kA == Major::kMN}),
                   "n"(int{kB == Major::kMN}));
  else
    asm volatile(WD_WGMMA("128", "{" WD_LOWER ", " WD_UPPER "}, %64, %65", "%66", "%67, %68")
                 : WD_ROWS(0), WD_ROWS(8)
                 : "l"(a), "l"(b), "r"(int{accumulate}), "n"(int{kA == Major::kMN}),
                   "n"(int{kB == Major::kMN}));
}
template <Major kB, int N8>
__device__ __forceinline__ void wgmma(float (&d)[N8][4], uint32_t (&a)[4], uint64_t b, bool accumulate) {
  static_assert(N8 == 8 || N8 == 16);
  if constexpr (N8 == 8)
    asm volatile(WD_WGMMA("64", "{" WD_LOWER "}, {%32, %33, %34, %35}, %36", "%37", "%38")
                 : WD_ROWS(0)
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(int{accumulate}),
                   "n"(int{kB == Major::kMN}));
  else
    asm volatile(WD_WGMMA("128", "{" WD_LOWER ", " WD_UPPER "}, {%64, %65, %66, %67}, %68", "%69", "%70")
                 : WD_ROWS(0), WD_ROWS(8)
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(int{accumulate}),
                   "n"(int{kB == Major::kMN}));
}
#undef WD_WGMMA
#undef WD_UPPER
#undef WD_MIDDLE
#undef WD_LOWER
#undef WD_ROWS
#undef WD_ROW

/// The compiler may not move accesses to these registers over this place.
template <int kRows, int kColumns>
__device__ __forceinline__ void hold(float (&registers)[kRows][kColumns]) {
#pragma unroll
  for (int i = 0; i < kRows; ++i)
#pragma unroll
    for (int j = 0; j < kColumns; ++j) asm volatile("" : "+f"(registers[i][j])::"memory");
}
template <int kRows, int kColumns>
__device__ __forceinline__ void hold(uint32_t (&registers)[kRows][kColumns]) {
#pragma unroll
  for (int i = 0; i < kRows; ++i)
#pragma unroll
    for (int j = 0; j < kColumns; ++j) asm volatile("" : "+r"(registers[i][j])::"memory");
}
template <class... Array>
__device__ __forceinline__ void wgmma_fence(Array&... named) {
  (hold(named), ...);
  asm volatile("wgmma.fence.sync.aligned;\n" ::: "memory");
}
__device__ __forceinline__ void wgmma_commit() {
  asm volatile("wgmma.commit_group.sync.aligned;\n" ::: "memory");
}
template <int kPending, class... Array>
__device__ __forceinline__ void wgmma_wait(Array&... named) {
  asm volatile("wgmma.wait_group.sync.aligned %0;\n" ::"n"(kPending) : "memory");
  (hold(named), ...);
}

template <int kCount>
__device__ __forceinline__ void setmaxnreg_inc() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;\n" ::"n"(kCount));
}
template <int kCount>
__device__ __forceinline__ void setmaxnreg_dec() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;\n" ::"n"(kCount));
}

}  // namespace wandistill::cuda
