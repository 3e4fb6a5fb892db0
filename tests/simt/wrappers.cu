// One small kernel per wrapper: what a test compares with the wrapper's definition, on every device.
#include "kernels/simt/device.h"
#include "tests/simt/test_kernels.h"

namespace wandistill::WD_KERNELS {
namespace {

using simt_test::ReduceKind;
using simt_test::ShuffleKind;

__global__ void shuffle_kernel(ShuffleKind kind, int operand, int width, const int* in, int* out) {
  const int value = in[threadIdx.x];
  int result = 0;
  if (kind == ShuffleKind::kIndex) result = __shfl_sync(~0u, value, operand, width);
  if (kind == ShuffleKind::kXor) result = __shfl_xor_sync(~0u, value, operand, width);
  if (kind == ShuffleKind::kUp) result = __shfl_up_sync(~0u, value, static_cast<unsigned>(operand), width);
  if (kind == ShuffleKind::kDown)
    result = __shfl_down_sync(~0u, value, static_cast<unsigned>(operand), width);
  out[threadIdx.x] = result;
}

__global__ void vote_kernel(unsigned mask, const int* predicates, unsigned* out) {
  const unsigned n = blockDim.x, thread = threadIdx.x;
  // The lanes outside of the mask make a warp-wide operation of their own.
  const unsigned mine = mask >> thread % 32 & 1 ? mask : ~mask;
  out[thread] = __ballot_sync(mine, predicates[thread]);
  out[n + thread] = static_cast<unsigned>(__any_sync(mine, predicates[thread]));
  out[2 * n + thread] = static_cast<unsigned>(__all_sync(mine, predicates[thread]));
}

__global__ void reduce_kernel(ReduceKind kind, const int* in, int* out) {
  const int value = in[threadIdx.x];
  int result = 0;
  if (kind == ReduceKind::kAdd) result = __reduce_add_sync(~0u, value);
  if (kind == ReduceKind::kMin) result = __reduce_min_sync(~0u, value);
  if (kind == ReduceKind::kMax) result = __reduce_max_sync(~0u, value);
  out[threadIdx.x] = result;
}

__global__ void load_matrix_kernel(int kind, const uint16_t* in, uint32_t* out) {
  WD_SHARED(uint16_t, tiles, [32][8]);
  const int lane = static_cast<int>(threadIdx.x);
  for (int i = 0; i < 8; ++i) tiles[lane][i] = in[lane * 8 + i];
  __syncwarp();
  uint32_t four[4] = {}, two[2] = {};
  if (kind == 0) ldmatrix_x4(four, tiles[lane]);
  if (kind == 1) ldmatrix_x4_trans(four, tiles[lane]);
  if (kind == 2) {
    ldmatrix_x2(two, tiles[lane % 16]);
    four[0] = two[0];
    four[1] = two[1];
  }
  for (int i = 0; i < 4; ++i) out[lane * 4 + i] = four[i];
}

/// c [16, 8] as lanes hold it: rows lane / 4 and lane / 4 + 8, columns 2 (lane % 4) and the next.
__device__ __forceinline__ int place_of(int element) {
  const int lane = static_cast<int>(threadIdx.x);
  return (lane / 4 + element / 2 * 8) * 8 + lane % 4 * 2 + element % 2;
}

template <class T>
__global__ void product_kernel(const T* a, const T* b, float* c) {
  WD_SHARED(T, tile_a, [16][16]);
  WD_SHARED(T, tile_b, [8][16]);
  const int lane = static_cast<int>(threadIdx.x);
  for (int i = lane; i < 256; i += 32) tile_a[i / 16][i % 16] = a[i];
  for (int i = lane; i < 128; i += 32) tile_b[i / 16][i % 16] = b[i];
  __syncwarp();
  uint32_t fragment_a[4], fragment_b[2];
  ldmatrix_x4(fragment_a, &tile_a[lane % 16][lane / 16 * 8]);
  ldmatrix_x2(fragment_b, &tile_b[lane % 8][lane / 8 % 2 * 8]);
  float sum[4];
  for (int i = 0; i < 4; ++i) sum[i] = c[place_of(i)];
  mma_m16n8k16<T>(sum, fragment_a, fragment_b[0], fragment_b[1]);
  for (int i = 0; i < 4; ++i) c[place_of(i)] = sum[i];
}

__global__ void product_tf32_kernel(const float* a, const float* b, float* c) {
  const int row = static_cast<int>(threadIdx.x) / 4, column = static_cast<int>(threadIdx.x) % 4;
  const uint32_t fragment_a[4] = {to_tf32(a[row * 8 + column]), to_tf32(a[(row + 8) * 8 + column]),
                                  to_tf32(a[row * 8 + column + 4]), to_tf32(a[(row + 8) * 8 + column + 4])};
  float sum[4];
  for (int i = 0; i < 4; ++i) sum[i] = c[place_of(i)];
  mma_m16n8k8_tf32(sum, fragment_a, to_tf32(b[row * 8 + column]), to_tf32(b[row * 8 + column + 4]));
  for (int i = 0; i < 4; ++i) c[place_of(i)] = sum[i];
}

/// Two groups in flight: the first half of the floats, then the second.
__global__ void async_copy_kernel(int count, int valid, const float* in, float* out) {
  WD_DYNAMIC_SHARED(float, tile);
  const int thread = static_cast<int>(threadIdx.x), threads = static_cast<int>(blockDim.x);
  const int half = count / 8 * 4;
  const auto fetch = [&](int from, int to) {
    for (int i = from + thread * 4; i < to; i += threads * 4) cp_async16(tile + i, in + i, i < valid);
    cp_async_commit();
  };
  const auto store = [&](int from, int to) {
    for (int i = from + thread * 4; i < to; i += threads * 4)
      store16(out + i, *reinterpret_cast<const uint4*>(tile + i));
  };
  fetch(0, half);
  fetch(half, count);
  cp_async_wait<1>();
  __syncthreads();
  store(0, half);
  cp_async_wait<0>();
  __syncthreads();
  store(half, count);
}

__global__ void convert_kernel(int n, const float* x, uint32_t* out) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i >= n) return;
  out[i] = narrow<bf16>(x[i]).bits;
  out[n + i] = narrow<fp16>(x[i]).bits;
  out[2 * n + i] = pack2<bf16>(x[i], -x[i]);
  out[3 * n + i] = pack2<fp16>(x[i], -x[i]);
  out[4 * n + i] = to_tf32(x[i]);
  out[5 * n + i] = __float_as_uint(widen(narrow<bf16>(x[i])));
  out[6 * n + i] = __float_as_uint(widen(narrow<fp16>(x[i])));
}

__global__ void exponential_kernel(int n, const float* x, float* y) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < n) y[i] = exp2_approx(x[i]);
}

__global__ void atomic_sums_kernel(int n, int* integers, unsigned* unsigneds, float* floats) {
  if (static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x) >= n) return;
  atomicAdd(integers, -1);
  atomicOr(integers + 1, 1 << threadIdx.x % 8);
  atomicAdd(unsigneds, 1u);
  atomicAdd(floats, 1.0f);
}

void shuffle(ShuffleKind kind, int operand, int width, const int* in, int* out, const Queue& queue) {
  launch(queue, 1, 32, 0, shuffle_kernel, kind, operand, width, in, out);
}
void vote(unsigned mask, const int* predicates, unsigned* out, const Queue& queue) {
  launch(queue, 1, 64, 0, vote_kernel, mask, predicates, out);
}
void reduce(ReduceKind kind, const int* in, int* out, const Queue& queue) {
  launch(queue, 1, 32, 0, reduce_kernel, kind, in, out);
}
void load_matrix(int kind, const uint16_t* in, uint32_t* out, const Queue& queue) {
  launch(queue, 1, 32, 0, load_matrix_kernel, kind, in, out);
}
template <class T>
void product(const T* a, const T* b, float* c, const Queue& queue) {
  launch(queue, 1, 32, 0, product_kernel<T>, a, b, c);
}
void product_tf32(const float* a, const float* b, float* c, const Queue& queue) {
  launch(queue, 1, 32, 0, product_tf32_kernel, a, b, c);
}
void async_copy(int count, int valid, const float* in, float* out, const Queue& queue) {
  launch(queue, 1, 64, static_cast<size_t>(count) * sizeof(float), async_copy_kernel, count, valid, in, out);
}
void convert(int n, const float* x, uint32_t* out, const Queue& queue) {
  launch(queue, static_cast<unsigned>(n + 127) / 128, 128, 0, convert_kernel, n, x, out);
}
void exponential(int n, const float* x, float* y, const Queue& queue) {
  launch(queue, static_cast<unsigned>(n + 127) / 128, 128, 0, exponential_kernel, n, x, y);
}
void atomic_sums(int n, int* integers, unsigned* unsigneds, float* floats, const Queue& queue) {
  launch(queue, static_cast<unsigned>(n + 63) / 64, 64, 0, atomic_sums_kernel, n, integers, unsigneds,
         floats);
}

}  // namespace

const simt_test::TestKernels kTestKernels = {
    shuffle,    vote,    reduce,      load_matrix, product<bf16>,   product<fp16>,         product_tf32,
    async_copy, convert, exponential, atomic_sums, attention_tiles, attention_tensor_core, column_sums,
};

}  // namespace wandistill::WD_KERNELS
