#include "kernels/cuda/transpose.h"

namespace wandistill::WD_KERNELS {
namespace {

constexpr int kSquare = 32, kSquareRows = 8, kSquareThreads = kSquare * kSquareRows;

/// y [columns, rows] = x [rows, columns] transposed, a square per block: blocks run along x's columns first.
template <class T>
__global__ void __launch_bounds__(kSquareThreads)
    transpose_kernel(int64_t rows, int64_t columns, const T* __restrict__ x, T* __restrict__ y) {
  WD_SHARED(T, square, [kSquare][kSquare + 1]);
  const int64_t across = (columns + kSquare - 1) / kSquare;
  const int64_t first_row = blockIdx.x / across * kSquare, first_column = blockIdx.x % across * kSquare;
  const int lane = static_cast<int>(threadIdx.x) % kSquare, group = static_cast<int>(threadIdx.x) / kSquare;
  for (int r = group; r < kSquare; r += kSquareRows)
    if (first_row + r < rows && first_column + lane < columns)
      square[r][lane] = x[(first_row + r) * columns + first_column + lane];
  __syncthreads();
  for (int c = group; c < kSquare; c += kSquareRows)
    if (first_column + c < columns && first_row + lane < rows)
      y[(first_column + c) * rows + first_row + lane] = square[lane][c];
}

}  // namespace

template <class T>
void transpose(int64_t rows, int64_t columns, const T* x, T* y, const Queue& queue) {
  const int64_t blocks = (rows + kSquare - 1) / kSquare * ((columns + kSquare - 1) / kSquare);
  launch(queue, static_cast<unsigned>(blocks), kSquareThreads, 0, transpose_kernel<T>, rows, columns, x, y);
}
template void transpose(int64_t, int64_t, const float*, float*, const Queue&);
template void transpose(int64_t, int64_t, const bf16*, bf16*, const Queue&);

}  // namespace wandistill::WD_KERNELS
