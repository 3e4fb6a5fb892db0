// Latents to patch rows and back (ops/patchify.h). One warp per token: the lanes go along the row, and what
// they touch of the latents shares its cache lines with the tokens beside it, which the block's other warps
// have.
#include "kernels/cuda/ops.h"

namespace wandistill::WD_KERNELS {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kWarps = kThreads / 32, kMostBlocks = 2048;

/// Where the row's elements come from: (c, p, q) or (p, q, c).
enum class RowOrder { kChannelFirst, kChannelLast };

/// Calls visit(latent index, row index) for every element.
template <RowOrder kOrder, class Visit>
__device__ __forceinline__ void for_each_element(const PatchShape& s, Visit visit) {
  // Of tokens there are fewer than 2^32, and 64-bit divisions are slow.
  const unsigned across = static_cast<unsigned>(s.width) / static_cast<unsigned>(s.patch_width),
                 down = static_cast<unsigned>(s.height) / static_cast<unsigned>(s.patch_height);
  const int64_t tokens = s.batch * down * across, row = s.row();
  const int ph = static_cast<int>(s.patch_height), pw = static_cast<int>(s.patch_width),
            channels = static_cast<int>(s.channels);
  for (int64_t token = blockIdx.x * kWarps + threadIdx.x / 32; token < tokens; token += gridDim.x * kWarps) {
    const unsigned at = static_cast<unsigned>(token), line = at / across;
    const int64_t b = line / down, y0 = int64_t{line % down} * ph, x0 = int64_t{at % across} * pw;
    for (int i = static_cast<int>(threadIdx.x % 32); i < row; i += 32) {
      const int c = kOrder == RowOrder::kChannelFirst ? i / (ph * pw) : i % channels;
      const int pq = kOrder == RowOrder::kChannelFirst ? i % (ph * pw) : i / channels;
      visit(((b * channels + c) * s.height + y0 + pq / pw) * s.width + x0 + pq % pw, token * row + i);
    }
  }
}

template <RowOrder kOrder, class T>
__global__ void __launch_bounds__(kThreads)
    to_rows_kernel(const PatchShape shape, const float* __restrict__ latents, T* __restrict__ rows) {
  for_each_element<kOrder>(shape,
                           [&](int64_t latent, int64_t row) { rows[row] = narrow<T>(latents[latent]); });
}

template <RowOrder kOrder, class T>
__global__ void __launch_bounds__(kThreads)
    from_rows_kernel(const PatchShape shape, const T* __restrict__ rows, float* __restrict__ latents) {
  for_each_element<kOrder>(shape, [&](int64_t latent, int64_t row) { latents[latent] = widen(rows[row]); });
}

unsigned blocks_for(const PatchShape& shape) {
  const int64_t blocks = (shape.batch * shape.tokens() + kWarps - 1) / kWarps;
  return static_cast<unsigned>(blocks < kMostBlocks ? blocks : kMostBlocks);
}

template <class T>
void patchify(const PatchShape& shape, const float* latents, T* rows, const Queue& queue) {
  launch(queue, blocks_for(shape), kThreads, 0, to_rows_kernel<RowOrder::kChannelFirst, T>, shape, latents,
         rows);
}

template <class T>
void unpatchify(const PatchShape& shape, const T* rows, float* latents, const Queue& queue) {
  launch(queue, blocks_for(shape), kThreads, 0, from_rows_kernel<RowOrder::kChannelLast, T>, shape, rows,
         latents);
}

template <class T>
void unpatchify_backward(const PatchShape& shape, const float* dlatents, T* drows, const Queue& queue) {
  launch(queue, blocks_for(shape), kThreads, 0, to_rows_kernel<RowOrder::kChannelLast, T>, shape, dlatents,
         drows);
}

}  // namespace

template <class T>
void add_patchify(OpsOf<T>& ops) {
  ops.patchify = patchify<T>;
  ops.unpatchify = unpatchify<T>;
  ops.unpatchify_backward = unpatchify_backward<T>;
}
template void add_patchify(OpsOf<float>&);
template void add_patchify(OpsOf<bf16>&);

}  // namespace wandistill::WD_KERNELS
