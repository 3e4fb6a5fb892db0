// The GPU's side of device.h: launch, shared memory, and every line of inline PTX of the project.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "wandistill/half.h"
#include "wandistill/queue.h"

#define WD_SHARED(type, name, dimensions) __shared__ __align__(16) type name dimensions
#define WD_DYNAMIC_SHARED(type, name)                                          \
  extern __shared__ __align__(1024) unsigned char wandistill_dynamic_shared[]; \
  type* name = reinterpret_cast<type*>(wandistill_dynamic_shared)

namespace wandistill::cuda {

/// queue.stream must be a CUDA device's; Error if the launch is refused.
void launch_kernel(const Queue& queue, dim3 grid, dim3 block, size_t dynamic_bytes, const void* kernel,
                   void** arguments);

/// Of the device that the queue's stream belongs to, as far as kernels may use it: 80, 90.
int compute_capability(const Queue& queue);

/// Enqueues kernel(arguments...) on queue.stream. Nothing is launched for an empty grid.
template <class... Parameters>
void launch(const Queue& queue, dim3 grid, dim3 block, size_t dynamic_bytes, void (*kernel)(Parameters...),
            std::type_identity_t<Parameters>... arguments) {
  void* addresses[] = {const_cast<void*>(static_cast<const void*>(&arguments))...};
  launch_kernel(queue, grid, block, dynamic_bytes, reinterpret_cast<const void*>(kernel), addresses);
}

__device__ __forceinline__ uint32_t shared_address(const void* in_shared) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(in_shared));
}

// ---- Wide stores
/// As one number: a struct's members nvcc stores one by one at many places.
__device__ __forceinline__ void store16(void* to, const uint4& words) {
  using Number = unsigned __int128;
  const Number low = words.x | uint64_t{words.y} << 32, high = words.z | uint64_t{words.w} << 32;
  *static_cast<Number*>(to) = low | high << 64;
}

// ---- cp.async
__device__ __forceinline__ void cp_async16(void* to, const void* from, bool valid) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(shared_address(to)), "l"(from),
               "r"(valid ? 16 : 0)
               : "memory");
}
__device__ __forceinline__ void cp_async_commit() {
  asm volatile("cp.async.commit_group;\n" ::: "memory");
}
template <int kPending>
__device__ __forceinline__ void cp_async_wait() {
  asm volatile("cp.async.wait_group %0;\n" ::"n"(kPending) : "memory");
}

// ---- Tensor cores
__device__ __forceinline__ void ldmatrix_x4(uint32_t (&tiles)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];\n"
               : "=r"(tiles[0]), "=r"(tiles[1]), "=r"(tiles[2]), "=r"(tiles[3])
               : "r"(shared_address(row))
               : "memory");
}
__device__ __forceinline__ void ldmatrix_x4_trans(uint32_t (&tiles)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];\n"
               : "=r"(tiles[0]), "=r"(tiles[1]), "=r"(tiles[2]), "=r"(tiles[3])
               : "r"(shared_address(row))
               : "memory");
}
__device__ __forceinline__ void ldmatrix_x2(uint32_t (&tiles)[2], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0,%1}, [%2];\n"
               : "=r"(tiles[0]), "=r"(tiles[1])
               : "r"(shared_address(row))
               : "memory");
}

#define WD_MMA(instruction)                                                   \
  asm volatile("mma.sync.aligned." instruction                                \
               ".f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};\n" \
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])               \
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1))
template <class T>
__device__ __forceinline__ void mma_m16n8k16(float (&c)[4], const uint32_t (&a)[4], uint32_t b0,
                                             uint32_t b1) {
  static_assert(std::is_same_v<T, bf16> || std::is_same_v<T, fp16>);
  if constexpr (std::is_same_v<T, bf16>)
    WD_MMA("m16n8k16.row.col.f32.bf16.bf16");
  else
    WD_MMA("m16n8k16.row.col.f32.f16.f16");
}
__device__ __forceinline__ void mma_m16n8k8_tf32(float (&c)[4], const uint32_t (&a)[4], uint32_t b0,
                                                 uint32_t b1) {
  WD_MMA("m16n8k8.row.col.f32.tf32.tf32");
}
#undef WD_MMA

// ---- Arithmetic
/// 2^x to two units in the last place; 0 where it is less than 2^-126.
__device__ __forceinline__ float exp2_approx(float x) {
  float result;
  asm("ex2.approx.ftz.f32 %0, %1;\n" : "=f"(result) : "f"(x));
  return result;
}

// ---- Conversions
__device__ __forceinline__ float widen(float x) {
  return x;
}
__device__ __forceinline__ float widen(bf16 x) {
  return __uint_as_float(static_cast<uint32_t>(x.bits) << 16);
}
__device__ __forceinline__ float widen(fp16 x) {
  float result;
  asm("cvt.f32.f16 %0, %1;\n" : "=f"(result) : "h"(x.bits));
  return result;
}
template <class T>
__device__ __forceinline__ T narrow(float x) {
  if constexpr (std::is_same_v<T, float>) {
    return x;
  } else {
    T result;
    if constexpr (std::is_same_v<T, bf16>)
      asm("cvt.rn.bf16.f32 %0, %1;\n" : "=h"(result.bits) : "f"(x));
    else
      asm("cvt.rn.f16.f32 %0, %1;\n" : "=h"(result.bits) : "f"(x));
    return result;
  }
}
template <class T>
__device__ __forceinline__ uint32_t pack2(float low, float high) {
  static_assert(std::is_same_v<T, bf16> || std::is_same_v<T, fp16>);
  uint32_t result;
  if constexpr (std::is_same_v<T, bf16>)
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;\n" : "=r"(result) : "f"(high), "f"(low));
  else
    asm("cvt.rn.f16x2.f32 %0, %1, %2;\n" : "=r"(result) : "f"(high), "f"(low));
  return result;
}
__device__ __forceinline__ uint32_t to_tf32(float x) {
  uint32_t result;
  asm("cvt.rna.tf32.f32 %0, %1;\n" : "=r"(result) : "f"(x));
  return result;
}

}  // namespace wandistill::cuda
