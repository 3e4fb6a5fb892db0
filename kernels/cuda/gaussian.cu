// Normally distributed numbers by counter (ops/gaussian.h): every thread makes the four of a Philox block.
#include "kernels/cuda/elementwise.h"
#include "kernels/cuda/ops.h"
#include "kernels/cuda/philox.h"
#include "wandistill/error.h"

namespace wandistill::WD_KERNELS {
namespace {

/// blocks: of Philox, from first / 4 on; of the outer two some numbers may not be wanted.
__global__ void __launch_bounds__(kElementThreads)
    gaussian_kernel(uint64_t seed, uint64_t stream, int64_t first, int64_t count, int64_t blocks,
                    bool vectors, float* __restrict__ out) {
  for_each<1>(blocks, false, [&](int64_t block, Count<1>) {
    float z[4];
    gaussian_block(seed, stream, first / 4 + block, z);
    const int64_t i = block * 4 - first % 4;
    if (vectors && i >= 0 && i + 4 <= count) {
      store(out + i, z);
    } else {
      for (int k = 0; k < 4; ++k)
        if (i + k >= 0 && i + k < count) out[i + k] = z[k];
    }
  });
}

void gaussian(uint64_t seed, uint64_t stream, int64_t first_element, int64_t count, float* out,
              const Queue& queue) {
  WD_REQUIRE(first_element >= 0 && count >= 0 && stream < uint64_t{1} << 63);
  const int64_t blocks = count > 0 ? (first_element + count + 3) / 4 - first_element / 4 : 0;
  const bool vectors = (reinterpret_cast<uintptr_t>(out) / sizeof(float) - first_element) % 4 == 0;
  launch(queue, element_blocks<1>(blocks, false), kElementThreads, 0, gaussian_kernel, seed, stream,
         first_element, count, blocks, vectors, out);
}

}  // namespace

template <class T>
void add_gaussian(OpsOf<T>& ops) {
  ops.gaussian = gaussian;
}
template void add_gaussian(OpsOf<float>&);
template void add_gaussian(OpsOf<bf16>&);

}  // namespace wandistill::WD_KERNELS
