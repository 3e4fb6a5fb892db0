// Products by oneDNN, cut into blocks of rows and columns that depend on the shape alone; each block is one
// single-threaded call.
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

/// Numbers of rows of which oneDNN (2.6) gives a row of A B^T the same bits however many rows are beside it,
/// and a row of A B while B has less than a million values: others have other kernels, which add in another
/// order. With AVX-512 these are 16 rows and more, else multiples of 12. A unit test watches this.
struct RowRule {
  int64_t fewest;
  bool multiples;

  int64_t odd(int64_t m) const { return multiples || m < fewest ? m % fewest : 0; }
};

const RowRule& row_rule() {
  static const RowRule rule =
      dnnl_get_effective_cpu_isa() >= dnnl_cpu_isa_avx512_core ? RowRule{16, false} : RowRule{12, true};
  return rule;
}

void sgemm(const MatmulShape& s, const float* a, const float* b, float* c) {
  const dnnl_status_t status = dnnl_sgemm(s.transpose_a ? 'T' : 'N', s.transpose_b ? 'T' : 'N', s.m, s.n, s.k,
                                          1.0f, a, s.lda, b, s.ldb, s.beta, c, s.ldc);
  if (status != dnnl_success)
    fail("dnnl_sgemm failed with status ", int(status), " for m ", s.m, ", n ", s.n, ", k ", s.k);
}

/// The product with zero rows below A, to the fewest that there may be.
void sgemm_padded(const MatmulShape& s, const float* a, const float* b, float* c) {
  MatmulShape padded = s;
  padded.m = row_rule().fewest;
  padded.lda = s.k;
  padded.ldc = s.n;
  Buffer<float> rows = Buffer<float>::zeros(padded.m * s.k), result(padded.m * s.n);
  for (int64_t i = 0; i < s.m; ++i) std::copy_n(a + i * s.lda, s.k, rows.data() + i * s.k);
  if (s.beta != 0) {
    std::fill(result.begin() + s.m * s.n, result.end(), 0.0f);
    for (int64_t i = 0; i < s.m; ++i) std::copy_n(c + i * s.ldc, s.n, result.data() + i * s.n);
  }
  sgemm(padded, rows.data(), b, result.data());
  for (int64_t i = 0; i < s.m; ++i) std::copy_n(result.data() + i * s.n, s.n, c + i * s.ldc);
}

/// A product as a grid of blocks. oneDNN is about as fast on blocks of 64 x 64 as on large ones (150 to 190
/// GFLOP/s with AVX-512, from k = 64 to 4096), so there are enough of them for many threads, but not for
/// products that take less time than waking these. How columns are cut does not depend on m: oneDNN adds in
/// another order where there are others.
struct Grid {
  static constexpr int64_t kBlocks = 16, kMostRows = 192, kMostAcross = 4, kFewestColumns = 64;
  static constexpr int64_t kLeastWork = 1 << 20;  // multiply-adds of a block: about 12 us

  int64_t rows, columns, across;  // of a block; blocks side by side

  explicit Grid(const MatmulShape& s) {
    constexpr int64_t kFewRows = 64;
    const int64_t rows_to_cut = s.transpose_a ? 64 : 96;  // below, a block of B is packed too often
    across = std::clamp<int64_t>(kFewRows * s.n * s.k / kLeastWork, 1, kMostAcross);
    columns = std::max(kFewestColumns, round_up((s.n + across - 1) / across, 16));
    across = (s.n + columns - 1) / columns;
    const int64_t wanted = std::min(s.m * s.n * s.k / kLeastWork, kBlocks);
    const int64_t down = std::max(
        {(s.m + kMostRows - 1) / kMostRows, std::min(wanted / across, s.m / rows_to_cut), int64_t{1}});
    const int64_t step = row_rule().fewest;
    rows = std::max(step, round_up((s.m + down - 1) / down, step));  // m may be 0
  }

 private:
  static int64_t round_up(int64_t n, int64_t step) { return (n + step - 1) / step * step; }
};

/// c := a b, block by block.
struct Product {
  struct Block {
    int64_t row, rows, column, columns;
  };

  Product(const MatmulShape& s, const float* a_, const float* b_, float* c_)
      : shape(s), grid(s), blocks((s.m + grid.rows - 1) / grid.rows * grid.across), a(a_), b(b_), c(c_) {}

  Block block(int64_t index) const {
    const int64_t row = index / grid.across * grid.rows, column = index % grid.across * grid.columns;
    return {row, std::min(grid.rows, shape.m - row), column, std::min(grid.columns, shape.n - column)};
  }
  void multiply(int64_t index) const {
    const Block at = block(index);
    MatmulShape part = shape;
    part.m = at.rows;
    part.n = at.columns;
    matmul_serial(part, a + (shape.transpose_a ? at.row : at.row * shape.lda),
                  b + (shape.transpose_b ? at.column * shape.ldb : at.column),
                  c + at.row * shape.ldc + at.column);
  }

  MatmulShape shape;
  Grid grid;
  int64_t blocks;
  const float *a, *b;
  float* c;
};

constexpr int64_t kStrip = 64;  // as many columns' sums as stay in registers

/// sums[j] (+)= the sum of x's column j, for the columns of a strip.
void add_strip_sums(int64_t m, int64_t n, const float* x, int64_t from, bool accumulate, float* sums) {
  const int64_t width = std::min(kStrip, n - from);
  float sum[kStrip] = {};
  for (int64_t i = 0; i < m; ++i) {
    const float* row = x + i * n + from;
#pragma omp simd
    for (int64_t j = 0; j < width; ++j) sum[j] += row[j];
  }
  for (int64_t j = 0; j < width; ++j) sums[from + j] = accumulate ? sums[from + j] + sum[j] : sum[j];
}

}  // namespace

void matmul_serial(const MatmulShape& s, const float* a, const float* b, float* c) {
  // oneDNN's own threads would make the order of additions depend on their number.
  if (!omp_in_parallel() && omp_get_max_threads() != 1) omp_set_num_threads(1);
  MatmulShape whole = s, odd = s;
  odd.m = s.transpose_a ? 0 : row_rule().odd(s.m);
  whole.m -= odd.m;
  if (whole.m > 0 || s.m == 0) sgemm(whole, a, b, c);
  if (odd.m > 0) sgemm_padded(odd, a + whole.m * s.lda, b, c + whole.m * s.ldc);
}

void matmul(const MatmulShape& s, const float* a, const float* b, float* c, const Queue& queue) {
  const Product product(s, a, b, c);
  parallel_for(queue, product.blocks, [&](int64_t index) { product.multiply(index); });
}

void linear_forward(int64_t m, int64_t n, int64_t k, const float* x, const float* weight, const float* bias,
                    float* y, const Queue& queue) {
  const Product product(MatmulShape::dense(m, n, k, false, true, bias ? 1.0f : 0.0f), x, weight, y);
  parallel_for(queue, product.blocks, [&](int64_t index) {
    const Product::Block at = product.block(index);
    if (bias)
      for (int64_t i = at.row; i < at.row + at.rows; ++i)
        std::copy_n(bias + at.column, at.columns, y + i * n + at.column);
    product.multiply(index);
  });
}

void linear_gelu_forward(int64_t m, int64_t n, int64_t k, const float* x, const float* weight,
                         const float* bias, float* raw, float* act, const Queue& queue) {
  linear_forward(m, n, k, x, weight, bias, raw, queue);
  gelu_forward(m * n, raw, act, queue);
}

void add_column_sums(int64_t m, int64_t n, const float* x, float* sums, const Queue& queue) {
  const int64_t step = (rows_per_task(m) + kStrip - 1) / kStrip * kStrip;
  parallel_blocks(queue, n, step, [&](int64_t begin, int64_t end) {
    for (int64_t from = begin; from < end; from += kStrip) add_strip_sums(m, n, x, from, true, sums);
  });
}

void linear_backward(int64_t m, int64_t n, int64_t k, const float* x, const float* weight, const float* dy,
                     float* dx, bool accumulate_dx, float* dweight, bool accumulate_dweight, float* dbias,
                     const Queue& queue) {
  const Product input(MatmulShape::dense(m, k, n, false, false, accumulate_dx ? 1.0f : 0.0f), dy, weight, dx);
  const Product weights(MatmulShape::dense(n, k, m, true, false, accumulate_dweight ? 1.0f : 0.0f), dy, x,
                        dweight);
  const int64_t of_input = dx ? input.blocks : 0, of_weights = dweight ? weights.blocks : 0;
  const int64_t strips = dbias ? (n + kStrip - 1) / kStrip : 0;
  // Of all three, so that small products keep as many threads at work.
  parallel_for(queue, of_input + of_weights + strips, [&](int64_t index) {
    if (index < of_input)
      input.multiply(index);
    else if (index < of_input + of_weights)
      weights.multiply(index - of_input);
    else
      add_strip_sums(m, n, dy, (index - of_input - of_weights) * kStrip, accumulate_dweight, dbias);
  });
}

}  // namespace wandistill::cpu
