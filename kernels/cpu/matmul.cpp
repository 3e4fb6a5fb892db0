// Products by oneDNN, cut into row blocks that depend on the shape alone; each block is one single-threaded
// call.
#include "wandistill/ops/matmul.h"

#include <omp.h>
#include <oneapi/dnnl/dnnl.h>

#include <algorithm>

#include "kernels/cpu/parallel.h"
#include "wandistill/buffer.h"
#include "wandistill/error.h"
#include "wandistill/ops/activation.h"

namespace wandistill::cpu {
namespace {

constexpr int64_t kRowBlock = 192;
// oneDNN (2.6, AVX-512) has other kernels, which add in another order, for products of fewer rows. From here
// on a row of A B^T gets the same bits however many rows are beside it, and so does a row of A B while B has
// less than a million values. A unit test watches this.
constexpr int64_t kFewestRows = 16;

void sgemm(const MatmulShape& s, const float* a, const float* b, float* c) {
  const dnnl_status_t status = dnnl_sgemm(s.transpose_a ? 'T' : 'N', s.transpose_b ? 'T' : 'N', s.m, s.n, s.k,
                                          1.0f, a, s.lda, b, s.ldb, s.beta, c, s.ldc);
  if (status != dnnl_success)
    fail("dnnl_sgemm failed with status ", int(status), " for m ", s.m, ", n ", s.n, ", k ", s.k);
}

/// The product with zero rows below A, to kFewestRows.
void sgemm_padded(const MatmulShape& s, const float* a, const float* b, float* c) {
  MatmulShape padded = s;
  padded.m = kFewestRows;
  padded.lda = s.k;
  padded.ldc = s.n;
  Buffer<float> rows = Buffer<float>::zeros(kFewestRows * s.k), result(kFewestRows * s.n);
  for (int64_t i = 0; i < s.m; ++i) std::copy_n(a + i * s.lda, s.k, rows.data() + i * s.k);
  if (s.beta != 0) {
    std::fill(result.begin() + s.m * s.n, result.end(), 0.0f);
    for (int64_t i = 0; i < s.m; ++i) std::copy_n(c + i * s.ldc, s.n, result.data() + i * s.n);
  }
  sgemm(padded, rows.data(), b, result.data());
  for (int64_t i = 0; i < s.m; ++i) std::copy_n(result.data() + i * s.n, s.n, c + i * s.ldc);
}

}  // namespace

void matmul_serial(const MatmulShape& s, const float* a, const float* b, float* c) {
  // oneDNN's own threads would make the order of additions depend on their number.
  if (!omp_in_parallel() && omp_get_max_threads() != 1) omp_set_num_threads(1);
  if (!s.transpose_a && s.m < kFewestRows)
    sgemm_padded(s, a, b, c);
  else
    sgemm(s, a, b, c);
}

void matmul(const MatmulShape& s, const float* a, const float* b, float* c, const Queue& queue) {
  parallel_blocks(queue, s.m, kRowBlock, [&](int64_t begin, int64_t end) {
    MatmulShape block = s;
    block.m = end - begin;
    matmul_serial(block, a + (s.transpose_a ? begin : begin * s.lda), b, c + begin * s.ldc);
  });
}

void linear_forward(int64_t m, int64_t n, int64_t k, const float* x, const float* weight, const float* bias,
                    float* y, const Queue& queue) {
  parallel_blocks(queue, m, kRowBlock, [&](int64_t begin, int64_t end) {
    if (bias)
      for (int64_t i = begin; i < end; ++i) std::copy(bias, bias + n, y + i * n);
    matmul_serial(MatmulShape::dense(end - begin, n, k, false, true, bias ? 1.0f : 0.0f), x + begin * k,
                  weight, y + begin * n);
  });
}

void linear_gelu_forward(int64_t m, int64_t n, int64_t k, const float* x, const float* weight,
                         const float* bias, float* raw, float* act, const Queue& queue) {
  linear_forward(m, n, k, x, weight, bias, raw, queue);
  gelu_forward(m * n, raw, act, queue);
}

void add_column_sums(int64_t m, int64_t n, const float* x, float* sums, const Queue& queue) {
  parallel_blocks(queue, n, 64, [&](int64_t begin, int64_t end) {
    const int64_t width = end - begin;
    float sum[64] = {};
    for (int64_t i = 0; i < m; ++i) {
      const float* row = x + i * n + begin;
#pragma omp simd
      for (int64_t j = 0; j < width; ++j) sum[j] += row[j];
    }
    for (int64_t j = 0; j < width; ++j) sums[begin + j] += sum[j];
  });
}

void linear_backward(int64_t m, int64_t n, int64_t k, const float* x, const float* weight, const float* dy,
                     float* dx, bool accumulate_dx, float* dweight, float* dbias, const Queue& queue) {
  if (dx)
    matmul(MatmulShape::dense(m, k, n, false, false, accumulate_dx ? 1.0f : 0.0f), dy, weight, dx, queue);
  if (dweight) matmul(MatmulShape::dense(n, k, m, true, false, 1.0f), dy, x, dweight, queue);
  if (dbias) add_column_sums(m, n, dy, dbias, queue);
}

}  // namespace wandistill::cpu
