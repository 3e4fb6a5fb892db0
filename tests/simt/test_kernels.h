// Kernels that tests run on every device: one table for the SIMT layer, one for CUDA.
#pragma once

#include <cstdint>

#include "tests/simt/fault.h"
#include "wandistill/half.h"
#include "wandistill/queue.h"

namespace wandistill::simt_test {

enum class ShuffleKind { kIndex, kXor, kUp, kDown };
enum class ReduceKind { kAdd, kMin, kMax };

/// One warp: out[lane] = the shuffle of in[lane] with this operand and width.
using Shuffle = void(ShuffleKind kind, int operand, int width, const int* in, int* out, const Queue& queue);
/// out [3, 64]: ballot, any, all over the lanes of `mask` (the others over the rest); two warps.
using Vote = void(unsigned mask, const int* predicates, unsigned* out, const Queue& queue);
using Reduce = void(ReduceKind kind, const int* in, int* out, const Queue& queue);
/// in [32, 8] 16-bit elements; out [32, 4]: the registers of every lane; kinds: x4, x4 transposed, x2.
using LoadMatrix = void(int kind, const uint16_t* in, uint32_t* out, const Queue& queue);
/// c [16, 8] += a [16, K] b [8, K]^T, K = 16 (8 for tf32).
template <class T>
using MatrixProduct = void(const T* a, const T* b, float* c, const Queue& queue);
/// out = in by cp.async and store16, `count` floats (a multiple of 4); zeros from `valid` on.
using AsyncCopy = void(int count, int valid, const float* in, float* out, const Queue& queue);
/// out [7, n]: bits of narrow<bf16>, narrow<fp16>, pack2 of both (x, -x), to_tf32, widen of the first two.
using Convert = void(int n, const float* x, uint32_t* out, const Queue& queue);
/// y [n] = exp2_approx of x.
using Exponential = void(int n, const float* x, float* y, const Queue& queue);
/// integers[0] -= n, integers[1] |= 255, unsigneds and floats [1] += n: by n threads of several blocks.
using AtomicSums = void(int n, int* integers, unsigned* unsigneds, float* floats, const Queue& queue);

/// out [H, N, 64], lse [H, N]; q, k, v [H, N, 64].
template <class T>
using Attention = void(Fault fault, int heads, int tokens, const T* q, const T* k, const T* v, float* out,
                       float* lse, const Queue& queue);
/// sums [columns] += those of x [rows, columns]; columns a multiple of 4.
using ColumnSums = void(Fault fault, int rows, int columns, const float* x, float* sums, const Queue& queue);

struct TestKernels {
  Shuffle* shuffle;
  Vote* vote;
  Reduce* reduce;
  LoadMatrix* load_matrix;
  MatrixProduct<bf16>* product_bf16;
  MatrixProduct<fp16>* product_fp16;
  MatrixProduct<float>* product_tf32;
  AsyncCopy* async_copy;
  Convert* convert;
  Exponential* exponential;
  AtomicSums* atomic_sums;
  Attention<float>* attention_tiles;
  Attention<bf16>* attention_tensor_core;
  ColumnSums* column_sums;
};

}  // namespace wandistill::simt_test

namespace wandistill::simt {
extern const simt_test::TestKernels kTestKernels;
simt_test::Attention<float> attention_tiles;
simt_test::Attention<bf16> attention_tensor_core;
simt_test::ColumnSums column_sums;
}  // namespace wandistill::simt
namespace wandistill::cuda {
extern const simt_test::TestKernels kTestKernels;
simt_test::Attention<float> attention_tiles;
simt_test::Attention<bf16> attention_tensor_core;
simt_test::ColumnSums column_sums;
}  // namespace wandistill::cuda
