// Sums over rows for every column, for gradients of what all rows share: in two stages whose order of
// additions depends on the shapes alone.
#pragma once

#include "kernels/cuda/ops.h"
#include "kernels/cuda/vector.h"
#include "wandistill/gpu.h"

namespace wandistill::WD_KERNELS {

/// groups x rows rows of C columns; each group has sums of its own.
struct ColumnShape {
  int64_t groups, rows, columns;
};

/// Where the sums go: sums[s] of a group's columns are added to to[s] + group * stride.
template <int kSums>
struct ColumnTargets {
  float* to[kSums];
  int64_t stride;
};

constexpr int kColumnThreads = 32, kRowThreads = 8;  // of a block: columns (groups of N) by rows

/// partial [groups, chunks, kSums, C]. terms.add<N>(group, row, column, sums): adds the terms of a row of
/// that group for columns [column, column + N) to sums [kSums][N]; called once for every row and column.
/// Blocks: column tiles, chunks, groups.
template <int kSums, int N, class Terms>
__global__ void __launch_bounds__(kColumnThreads* kRowThreads)
    column_partials_kernel(const ColumnShape shape, int64_t chunk_rows, const Terms terms, float* partial) {
  WD_SHARED(float, tile, [kRowThreads][kSums][kColumnThreads * N]);
  const int lane = static_cast<int>(threadIdx.x), part = static_cast<int>(threadIdx.y);
  const int64_t column = (int64_t{blockIdx.x} * kColumnThreads + lane) * N;
  const int64_t group = blockIdx.z, first = group * shape.rows + blockIdx.y * chunk_rows,
                of_group = (group + 1) * shape.rows,
                end = first + chunk_rows < of_group ? first + chunk_rows : of_group;
  float sums[kSums][N] = {};
  if (column < shape.columns)
    for (int64_t row = first + part; row < end; row += kRowThreads)
      terms.template add<N>(group, row, column, sums);
#pragma unroll
  for (int s = 0; s < kSums; ++s)
#pragma unroll
    for (int k = 0; k < N; ++k) tile[part][s][lane * N + k] = sums[s][k];
  __syncthreads();
  // Every thread takes some columns of the tile through the row threads' sums.
  const int thread = part * kColumnThreads + lane;
  for (int i = thread; i < kSums * kColumnThreads * N; i += kColumnThreads * kRowThreads) {
    const int s = i / (kColumnThreads * N), within = i % (kColumnThreads * N);
    const int64_t c = int64_t{blockIdx.x} * kColumnThreads * N + within;
    if (c >= shape.columns) continue;
    float total = 0;
    for (int p = 0; p < kRowThreads; ++p) total += tile[p][s][within];
    partial[((group * gridDim.y + blockIdx.y) * kSums + s) * shape.columns + c] = total;
  }
}

template <int kSums>
__global__ void __launch_bounds__(256)
    column_totals_kernel(const ColumnShape shape, int64_t chunks, const float* __restrict__ partial,
                         const ColumnTargets<kSums> targets) {
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= shape.groups * shape.columns) return;
  const int64_t group = i / shape.columns, c = i % shape.columns;
  for (int s = 0; s < kSums; ++s) {
    float total = 0;
    for (int64_t chunk = 0; chunk < chunks; ++chunk)
      total += partial[((group * chunks + chunk) * kSums + s) * shape.columns + c];
    targets.to[s][group * targets.stride + c] += total;
  }
}

/// vectors: terms may be asked for 4 aligned columns at a time. Scratch: at most 64 chunks' sums per group.
template <int kSums, class Terms>
void sum_columns(const ColumnShape& shape, bool vectors, const Terms& terms,
                 const ColumnTargets<kSums>& targets, const Queue& queue) {
  if (shape.groups * shape.rows * shape.columns == 0) return;
  constexpr int64_t kMostChunks = 64, kEnoughBlocks = 1024;
  const int64_t width = kColumnThreads * (vectors ? 4 : 1), tiles = (shape.columns + width - 1) / width;
  const int64_t wanted = (kEnoughBlocks + tiles * shape.groups - 1) / (tiles * shape.groups);
  const int64_t most = (shape.rows + kRowThreads - 1) / kRowThreads;
  int64_t chunks = wanted < kMostChunks ? wanted : kMostChunks;
  chunks = chunks < most ? chunks : most;
  const int64_t chunk_rows = (shape.rows + chunks - 1) / chunks;
  chunks = (shape.rows + chunk_rows - 1) / chunk_rows;
  DeviceBuffer<float> partial(*queue.stream, shape.groups * chunks * kSums * shape.columns);
  const dim3 grid(static_cast<unsigned>(tiles), static_cast<unsigned>(chunks),
                  static_cast<unsigned>(shape.groups));
  const auto kernel =
      vectors ? column_partials_kernel<kSums, 4, Terms> : column_partials_kernel<kSums, 1, Terms>;
  launch(queue, grid, dim3(kColumnThreads, kRowThreads), 0, kernel, shape, chunk_rows, terms, partial.data());
  launch(queue, static_cast<unsigned>((shape.groups * shape.columns + 255) / 256), 256, 0,
         column_totals_kernel<kSums>, shape, chunks, partial.data(), targets);
}

}  // namespace wandistill::WD_KERNELS
