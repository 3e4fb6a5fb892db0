// The 3 x 3 convolution (ops/conv2d.h) in bf16 for Hopper, as the implicit matrix product of conv2d.cu. A
// warp fetches weights by bulk copies, the others of its two warpgroups gather pixels with their halo, norm
// them on the way, and leave them as the products take them; two more warpgroups have the products.
//
// A product reads 64 pixels as eight groups of eight rows, one group being 1024 bytes which cannot be begun
// in the middle. A tap has to move by whole groups then: a group is the same place in eight patches of the
// tile, and its neighbours in the patch are groups too.
#include "kernels/cuda/conv2d_tile.h"
#include "kernels/cuda/launch_shared.h"
#include "kernels/cuda/swizzled_tile.h"
#include "kernels/cuda/transpose.h"
#include "wandistill/gpu.h"

namespace wandistill::WD_KERNELS {
namespace {

/// 16 x 16 outputs of 96 channels, which divide the Wan VAE's widths, from chunks of 64 input channels. The
/// patches lie two side by side.
struct HopperTile {
  static constexpr int kRows = 16, kColumns = 16, kOuts = 96, kChunk = 64, kTaps = 9;
  static constexpr int kPatches = 8, kPatchRows = 4, kPatchColumns = 8;
  static constexpr int kHaloRows = kPatchRows + 2, kHaloColumns = kPatchColumns + 2;
  static constexpr int kPixels = kHaloRows * kHaloColumns * kPatches;
  static constexpr int kInput = kPixels * kChunk, kWeights = kOuts * kChunk;  // elements of a stage
  static constexpr int kInputStages = 2, kWeightStages = 8;
  static constexpr int kAtWeights = kInputStages * kInput;  // in elements
  static constexpr size_t kSharedBytes = (kAtWeights + kWeightStages * kWeights) * sizeof(bf16);
  static constexpr int kMultiplying = 256, kGathering = 224, kThreads = kMultiplying + kGathering + 32;
};

/// Stages in use by turns: full when what belongs there has come, empty when all warps with products have
/// read it.
template <int kStages>
struct Ring {
  uint64_t full[kStages], empty[kStages];

  __device__ __forceinline__ void init(unsigned arrivals_to_fill) {
    for (int i = 0; i < kStages; ++i) {
      mbarrier_init(&full[i], arrivals_to_fill);
      mbarrier_init(&empty[i], HopperTile::kMultiplying / 32);
    }
  }
  /// How often the stage of use number t has been used before, as a phase's parity.
  static __device__ __forceinline__ unsigned parity(int t) { return static_cast<unsigned>(t / kStages) % 2; }
  __device__ __forceinline__ void await_full(int t) { mbarrier_wait(&full[t % kStages], parity(t)); }
  __device__ __forceinline__ void await_empty(int t) { mbarrier_wait(&empty[t % kStages], parity(t) ^ 1); }
  /// By all warps with products.
  __device__ __forceinline__ void release(int t) {
    if (threadIdx.x % 32 == 0) mbarrier_arrive(&empty[t % kStages]);
  }
};
struct HopperRings {
  Ring<HopperTile::kInputStages> input;
  Ring<HopperTile::kWeightStages> weights;
};

/// Of a pixel of the tile's patches, the one of x, and its scale: -1 and 0 outside of the picture.
struct HopperPixels {
  int64_t source[HopperTile::kPixels];
  float scale[HopperTile::kPixels];
};

/// By all threads.
__device__ __forceinline__ void find_pixels(const ConvArguments<bf16>& a, const ConvOrigin& origin,
                                            HopperPixels& pixels) {
  using P = HopperTile;
  for (int i = static_cast<int>(threadIdx.x); i < P::kPixels; i += P::kThreads) {
    const int patch = i % P::kPatches, place = i / P::kPatches;
    const int64_t row = origin.row + patch / 2 * P::kPatchRows + place / P::kHaloColumns - 1;
    const int64_t column = origin.column + patch % 2 * P::kPatchColumns + place % P::kHaloColumns - 1;
    const int64_t source = source_pixel(a.shape, row, column);
    pixels.source[i] = source;
    pixels.scale[i] = a.scales != nullptr && source >= 0 ? a.scales[source] : 0.0f;
  }
}

/// By one thread: the weights of all taps, chunk by chunk.
__device__ __forceinline__ void fetch_all_weights(const TensorMap& map, const ConvOrigin& origin, int chunks,
                                                  bf16* stages, Ring<HopperTile::kWeightStages>& ring) {
  using P = HopperTile;
  for (int t = 0; t < chunks * P::kTaps; ++t) {
    const int stage = t % P::kWeightStages;
    ring.await_empty(t);
    mbarrier_arrive_expect(&ring.full[stage], P::kWeights * 2);
    tma_load(stages + stage * P::kWeights, map, &ring.full[stage], t / P::kTaps * P::kChunk, t % P::kTaps,
             static_cast<int>(origin.out));
  }
}

/// The pixels, chunk by chunk. A thread has the same eight channels of every 28th pixel, and several of these
/// under way.
__device__ __forceinline__ void gather_pixels(const ConvArguments<bf16>& a, const HopperPixels& pixels,
                                              int chunks, bf16* stages,
                                              Ring<HopperTile::kInputStages>& ring) {
  using P = HopperTile;
  constexpr int kPieces = P::kChunk / 8, kAbreast = P::kGathering / kPieces, kBatch = 6;
  const int thread = static_cast<int>(threadIdx.x) - P::kMultiplying, column = thread % kPieces * 8;
  for (int chunk = 0; chunk < chunks; ++chunk) {
    const int64_t channel = int64_t{chunk} * P::kChunk + column;
    const bool there = channel < a.shape.c_in;
    bf16* tile = stages + chunk % P::kInputStages * P::kInput;
    float gamma[8] = {};
    if (a.gamma != nullptr && there) load(a.gamma + channel, gamma);
    ring.await_empty(chunk);
#pragma unroll 1
    for (int first = thread / kPieces; first < P::kPixels; first += kBatch * kAbreast) {
      uint4 batch[kBatch];
#pragma unroll
      for (int i = 0; i < kBatch; ++i) {
        const int pixel = first + i * kAbreast;
        const int64_t source = pixel < P::kPixels ? pixels.source[pixel] : -1;
        batch[i] = make_uint4(0, 0, 0, 0);
        if (source >= 0 && there)
          batch[i] = *reinterpret_cast<const uint4*>(a.x + source * a.shape.c_in + channel);
      }
#pragma unroll
      for (int i = 0; i < kBatch; ++i) {
        const int pixel = first + i * kAbreast;
        if (pixel >= P::kPixels) break;
        bf16* to = tile + swizzled_index<P::kPixels>(pixel, column);
        if (a.gamma == nullptr) {
          store16(to, batch[i]);
          continue;
        }
        float v[8];
        unpack(batch[i], v);
        const float scale = pixels.scale[pixel];
#pragma unroll
        for (int k = 0; k < 8; ++k) v[k] = silu_of(v[k] * scale * gamma[k]);
        store(to, v);
      }
    }
    fence_proxy_async();
    mbarrier_arrive(&ring.full[chunk % P::kInputStages]);
  }
}

/// sums += a tap's products over kDepth channels, for two rows of the patches, as a group that is under way.
template <int kDepth>
__device__ __forceinline__ void start_tap(float (&sums)[2][HopperTile::kOuts / 8][4], uint64_t pixels,
                                          uint64_t weights) {
  using P = HopperTile;
  wgmma_fence();
#pragma unroll
  for (int k = 0; k < kDepth; k += 16)
#pragma unroll
    for (int row = 0; row < 2; ++row)
      wgmma<Major::kK, Major::kK>(sums[row],
                                  pixels + matrix_offset<P::kPixels>(row * P::kHaloColumns * P::kPatches, k),
                                  weights + matrix_offset<P::kOuts>(0, k), true);
  wgmma_commit();
}

/// One warpgroup's products, and what comes of them: it has two of the patches' four rows.
__device__ __forceinline__ void multiply(const ConvArguments<bf16>& a, const ConvOrigin& origin, int group,
                                         int chunks, bf16* shared, HopperRings& rings) {
  using P = HopperTile;
  const uint64_t input = matrix_descriptor<P::kPixels>(shared) +
                         matrix_offset<P::kPixels>(2 * group * P::kHaloColumns * P::kPatches, 0);
  const uint64_t weights = matrix_descriptor<P::kOuts>(shared + P::kAtWeights);
  const auto in_stage = [](uint64_t matrix, int stage, int elements) {
    return matrix + static_cast<uint64_t>(stage * elements) * sizeof(bf16) / 16;
  };
  float sums[2][P::kOuts / 8][4] = {};
  wgmma_fence(sums[0], sums[1]);
  for (int chunk = 0, t = 0; chunk < chunks; ++chunk) {
    const bool half = a.shape.c_in - int64_t{chunk} * P::kChunk <= P::kChunk / 2;  // the others are zeros
    rings.input.await_full(chunk);
    for (int tap = 0; tap < P::kTaps; ++tap, ++t) {
      const int place = tap / 3 * P::kHaloColumns + tap % 3;
      const uint64_t pixels = in_stage(input, chunk % P::kInputStages, P::kInput) +
                              matrix_offset<P::kPixels>(place * P::kPatches, 0);
      const uint64_t tap_weights = in_stage(weights, t % P::kWeightStages, P::kWeights);
      rings.weights.await_full(t);
      if (half)
        start_tap<P::kChunk / 2>(sums, pixels, tap_weights);
      else
        start_tap<P::kChunk>(sums, pixels, tap_weights);
      wgmma_wait<1>();  // the tap before is done
      if (t > 0) rings.weights.release(t - 1);
      if (tap == 0 && chunk > 0) rings.input.release(chunk - 1);
    }
  }
  wgmma_wait<0>(sums[0], sums[1]);

  constexpr int kSlab = 16 * kSlabStride<P::kOuts>;
  static_assert(P::kMultiplying / 32 * kSlab * sizeof(float) <= P::kAtWeights * sizeof(bf16));
  const int warp = static_cast<int>(threadIdx.x) / 32;
  barrier_sync(1, P::kMultiplying);  // all have read the pixels
#pragma unroll
  for (int row = 0; row < 2; ++row)
    store_rows<P::kOuts>(
        a, sums[row], origin.out, reinterpret_cast<float*>(shared) + warp * kSlab, [&](int number) {
          const int patch = number % P::kPatches, place = warp % 4 * 2 + number / P::kPatches;
          const int64_t y = origin.row + patch / 2 * P::kPatchRows + 2 * group + row;
          const int64_t x = origin.column + patch % 2 * P::kPatchColumns + place;
          const bool inside = y < a.shape.out_height() && x < a.shape.out_width();
          return inside ? y * a.shape.out_width() + x : int64_t{-1};
        });
}

__global__ void __launch_bounds__(HopperTile::kThreads, 1)
    conv2d_hopper_kernel(const __grid_constant__ TensorMap weights, const ConvArguments<bf16> a) {
  if constexpr (!kHopper) {
    trap();
  } else {
    using P = HopperTile;
    WD_DYNAMIC_SHARED(bf16, shared);
    WD_SHARED(HopperRings, all_rings, [1]);
    WD_SHARED(HopperPixels, all_pixels, [1]);
    HopperRings& rings = all_rings[0];
    const ConvOrigin origin = origin_of_block<P>(a.shape);
    const int chunks = static_cast<int>((a.shape.c_in + P::kChunk - 1) / P::kChunk);
    if (threadIdx.x == 0) {
      rings.input.init(P::kGathering);
      rings.weights.init(1);
      mbarrier_init_fence();
    }
    find_pixels(a, origin, all_pixels[0]);
    __syncthreads();
    // The same in a warp for the compiler to see.
    const int warp = __shfl_sync(~0u, static_cast<int>(threadIdx.x) / 32, 0);
    if (warp < P::kMultiplying / 32) {
      setmaxnreg_inc<152>();
      multiply(a, origin, warp / 4, chunks, shared, rings);
    } else {
      setmaxnreg_dec<104>();
      if (warp < (P::kMultiplying + P::kGathering) / 32)
        gather_pixels(a, all_pixels[0], chunks, shared, rings.input);
      else if (threadIdx.x % 32 == 0)
        fetch_all_weights(weights, origin, chunks, shared + P::kAtWeights, rings.weights);
    }
  }
}

}  // namespace

bool conv2d_on_hopper(const ConvArguments<bf16>& a, const Queue& queue) {
  using P = HopperTile;
  const Conv2dShape& s = a.shape;
  // With few outputs most of a block's would be missing.
  if (compute_capability(queue) != 90 || s.kernel != 3 || s.c_out <= 64 || !a.input_vectors ||
      !a.output_vectors)
    return false;
  DeviceBuffer<bf16> turned(*queue.stream, P::kTaps * s.c_in * s.c_out);  // [c_out, taps, c_in]
  transpose(P::kTaps * s.c_in, s.c_out, a.weight, turned.data(), queue);
  const TensorMap map = make_tensor_map(
      turned.data(), {{s.c_in, 1, P::kChunk}, {P::kTaps, s.c_in, 1}, {s.c_out, P::kTaps * s.c_in, P::kOuts}});
  launch_shared<conv2d_hopper_kernel, P::kSharedBytes>(queue, blocks_of<P>(s), P::kThreads, map, a);
  return true;
}

}  // namespace wandistill::WD_KERNELS
