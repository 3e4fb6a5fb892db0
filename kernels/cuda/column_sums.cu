// Column sums of a matrix (ops/matmul.h): the gradient of a bias.
#include "kernels/cuda/column_sums.h"
#include "kernels/cuda/ops.h"

namespace wandistill::WD_KERNELS {
namespace {

template <class T>
struct Values {
  const T* x;
  int64_t columns;

  template <int N>
  __device__ __forceinline__ void add(int64_t, int64_t row, int64_t column, float (&sums)[1][N]) const {
    float v[N];
    load(x + row * columns + column, v);
#pragma unroll
    for (int k = 0; k < N; ++k) sums[0][k] += v[k];
  }
};

template <class T>
void add_column_sums(int64_t m, int64_t n, const T* x, float* sums, const Queue& queue) {
  const bool vectors = n % 4 == 0 && aligned<4>(x);
  sum_columns<1>(ColumnShape{1, m, n}, vectors, Values<T>{x, n}, ColumnTargets<1>{{sums}, 0}, queue);
}

}  // namespace

template <class T>
void add_column_sums(OpsOf<T>& ops) {
  ops.add_column_sums = add_column_sums<T>;
}
template void add_column_sums(OpsOf<float>&);
template void add_column_sums(OpsOf<bf16>&);

}  // namespace wandistill::WD_KERNELS
