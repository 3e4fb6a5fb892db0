// Column sums with float atomics between blocks, as a subject for the tests.
#include "kernels/simt/device.h"
#include "tests/simt/test_kernels.h"

namespace wandistill::WD_KERNELS {
namespace {

using simt_test::Fault;

__global__ void column_sums_kernel(Fault fault, int rows, int columns, const float* __restrict__ x,
                                   float* __restrict__ sums) {
  const int column = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x) * 4;
  if (column >= columns) return;
  const int64_t row_stride = fault == Fault::kMisaligned ? columns - 1 : columns;
  float sum[4] = {};
  for (int row = static_cast<int>(blockIdx.y); row < rows; row += static_cast<int>(gridDim.y)) {
    const float4 v = *reinterpret_cast<const float4*>(x + row * row_stride + column);
    sum[0] += v.x;
    sum[1] += v.y;
    sum[2] += v.z;
    sum[3] += v.w;
  }
  for (int i = 0; i < 4; ++i) {
    if (fault == Fault::kNoAtomic)
      sums[column + i] += sum[i];
    else
      atomicAdd(sums + column + i, sum[i]);
  }
}

}  // namespace

void column_sums(Fault fault, int rows, int columns, const float* x, float* sums, const Queue& queue) {
  const dim3 grid(static_cast<unsigned>(columns / 4 + 63) / 64, 5);
  launch(queue, grid, 64, 0, column_sums_kernel, fault, rows, columns, x, sums);
}

}  // namespace wandistill::WD_KERNELS
