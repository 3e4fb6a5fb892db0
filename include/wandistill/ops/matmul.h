// Matrix products, row-major.
#pragma once

#include <cstdint>

#include "wandistill/queue.h"

namespace wandistill {

/// C = op(A) op(B) + beta C, with op the identity or the transpose.
/// op(A) is [M, K] and op(B) [K, N]; lda, ldb, ldc are the row strides of A, B and C as they lie in memory.
struct MatmulShape {
  int64_t m, n, k;
  bool transpose_a = false, transpose_b = false;
  int64_t lda, ldb, ldc;
  float beta = 0.0f;

  /// Contiguous operands.
  static MatmulShape dense(int64_t m, int64_t n, int64_t k, bool transpose_a, bool transpose_b,
                           float beta = 0.0f) {
    return {m, n, k, transpose_a, transpose_b, transpose_a ? m : k, transpose_b ? k : n, n, beta};
  }
};

template <class T>
using Matmul = void(const MatmulShape& shape, const T* a, const T* b, T* c, const Queue& queue);

/// y [M, N] = x [M, K] W^T + bias, W [N, K] as PyTorch's Linear keeps it; bias [N] or null. On the CPU the
/// bits of a row depend on that row of x alone, not on M: samples may be batched and tokens split over ranks
/// as one likes. On a GPU M takes part in the choice of the algorithm, and so in the order of additions; the
/// same shapes at the same alignment give the same bits on the same kind of GPU.
template <class T>
using LinearForward = void(int64_t m, int64_t n, int64_t k, const T* x, const T* weight, const T* bias, T* y,
                           const Queue& queue);
/// raw [M, N] = LinearForward, act [M, N] = GELU (activation.h) of it, perhaps of its value before it was
/// rounded to T. Both are written: the backward pass needs raw.
template <class T>
using LinearGeluForward = void(int64_t m, int64_t n, int64_t k, const T* x, const T* weight, const T* bias,
                               T* raw, T* act, const Queue& queue);
/// Backward of LinearForward. dx [M, K] = (or +=, if accumulate_dx) dy W; null: not wanted.
/// dweight [N, K] = dy^T x and dbias [N] = column sums of dy (or both +=, if accumulate_dweight); null: not
/// wanted.
template <class T>
using LinearBackward = void(int64_t m, int64_t n, int64_t k, const T* x, const T* weight, const T* dy, T* dx,
                            bool accumulate_dx, float* dweight, bool accumulate_dweight, float* dbias,
                            const Queue& queue);
/// sums [N] += column sums of x [M, N]; the order of additions depends on the shape alone.
template <class T>
using AddColumnSums = void(int64_t m, int64_t n, const T* x, float* sums, const Queue& queue);

namespace ref {
Matmul<float> matmul;
LinearForward<float> linear_forward;
LinearGeluForward<float> linear_gelu_forward;
LinearBackward<float> linear_backward;
AddColumnSums<float> add_column_sums;
}  // namespace ref

namespace cpu {
Matmul<float> matmul;
LinearForward<float> linear_forward;
LinearGeluForward<float> linear_gelu_forward;
LinearBackward<float> linear_backward;
AddColumnSums<float> add_column_sums;
/// One single-threaded product: for kernels that are inside a parallel loop already. Unless A is transposed,
/// the bits of a row of C depend on that row of A and on B alone (for A B: while N K < 1e6).
void matmul_serial(const MatmulShape& shape, const float* a, const float* b, float* c);
}  // namespace cpu

/// Operands are rounded to bfloat16 and multiplied as such, sums are in float32: for CPUs with instructions
/// for it (cpu_bf16::instructions()). The bits of a row depend on that row and the weights alone here too;
/// another kind of CPU may add in another order.
namespace cpu_bf16 {
/// "AMX" or "AVX-512 BF16"; null: this CPU has none.
const char* instructions();
LinearForward<float> linear_forward;
LinearGeluForward<float> linear_gelu_forward;
LinearBackward<float> linear_backward;
}  // namespace cpu_bf16

}  // namespace wandistill
