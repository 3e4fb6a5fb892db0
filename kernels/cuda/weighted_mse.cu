// The loss and its gradient (ops/optimizer.h): one pass over memory, the sums in double, in two stages.
#include "kernels/cuda/elementwise.h"
#include "kernels/cuda/ops.h"
#include "kernels/cuda/reduce.h"
#include "wandistill/gpu.h"

namespace wandistill::WD_KERNELS {
namespace {

constexpr int kGroup = 4, kThreads = kElementThreads;
constexpr int64_t kMostChunks = 64, kChunk = 4 * kGroup * kThreads;

/// Grid: the chunks of a sample, samples.
__global__ void __launch_bounds__(kThreads)
    weighted_mse_kernel(int64_t n, bool vectors, const float* __restrict__ prediction,
                        const float* __restrict__ target, const float* __restrict__ weight,
                        double* __restrict__ partial, float* __restrict__ dprediction) {
  WD_SHARED(double, of_warps, [kThreads / 32]);
  const int64_t sample = blockIdx.y, from = sample * n;
  const float twice = 2.0f * weight[sample];
  double sum = 0;
  for_each<kGroup>(n, vectors, [&]<int N>(int64_t i, Count<N>) {
    float p[N], t[N];
    load(prediction + from + i, p);
    load(target + from + i, t);
    for (int k = 0; k < N; ++k) {
      p[k] -= t[k];
      sum += static_cast<double>(p[k]) * p[k];
      p[k] *= twice;
    }
    if (dprediction != nullptr) store(dprediction + from + i, p);
  });
  sum = block_sum<kThreads>(sum, of_warps);
  if (threadIdx.x == 0) partial[sample * gridDim.x + blockIdx.x] = sum;
}

void weighted_mse(int64_t batch, int64_t n, const float* prediction, const float* target, const float* weight,
                  double* squared_error, float* dprediction, const Queue& queue) {
  const bool vectors = n % kGroup == 0 && aligned<kGroup>(prediction, target, dprediction);
  int64_t chunks = (n + kChunk - 1) / kChunk;  // of n alone: a sample's sum does not depend on the others
  chunks = chunks < 1 ? 1 : chunks < kMostChunks ? chunks : kMostChunks;
  DeviceBuffer<double> partial(*queue.stream, batch * chunks);
  launch(queue, dim3(static_cast<unsigned>(chunks), static_cast<unsigned>(batch)), kThreads, 0,
         weighted_mse_kernel, n, vectors, prediction, target, weight, partial.data(), dprediction);
  launch(queue, static_cast<unsigned>(batch), kThreads, 0, sum_partials_kernel<kThreads, double>, chunks,
         partial.data(), squared_error);
}

}  // namespace

template <class T>
void add_weighted_mse(OpsOf<T>& ops) {
  ops.weighted_mse = weighted_mse;
}
template void add_weighted_mse(OpsOf<float>&);
template void add_weighted_mse(OpsOf<bf16>&);

}  // namespace wandistill::WD_KERNELS
