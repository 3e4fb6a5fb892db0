// Direct convolution in registers. A task copies one tile of the input, with its border of zeros or
// neighbours, into [c_in / 16][rows][cols][16]: there, neighbouring pixels are a constant distance apart, so
// that the inner loop is kPixels x kOuts multiply-adds on operands addressed by constants, and nothing is
// unrolled into columns (im2col writes 9 c_in floats per pixel, which for the VAE's 16 to 64 outputs takes as
// long as the product itself).
//
// Upsampling: of the 3 x 3 taps on the doubled picture, each output parity sees only 2 x 2 different input
// pixels, so it is four 2 x 2 convolutions of the small picture with summed weights: 4/9 of the work.
#include "wandistill/ops/conv2d.h"

#include <algorithm>
#include <cstring>

#include "kernels/cpu/parallel.h"
#include "kernels/cpu/pixel_norm.h"
#include "wandistill/buffer.h"
#include "wandistill/error.h"

namespace wandistill::cpu {
namespace {

#if defined(__AVX512F__)
constexpr int kLanes = 16, kPixels = 12;  // 24 accumulators of the 32 registers
#else
constexpr int kLanes = 8, kPixels = 6;  // 12 of 16
#endif
constexpr int kOuts = 2 * kLanes;
constexpr int64_t kChunk = 16;                    // input channels side by side in the tile
constexpr int64_t kTileRows = 8, kTileCols = 48;  // input pixels of one task, at most

typedef float Vector __attribute__((vector_size(kLanes * sizeof(float))));

Vector load(const float* from) {
  Vector v;
  std::memcpy(&v, from, sizeof v);
  return v;
}

int64_t round_up(int64_t n, int64_t step) {
  return (n + step - 1) / step * step;
}

/// What the shape alone decides: nothing here depends on the number of threads.
struct Plan {
  int64_t phases, side, taps, pad;  // side x side taps in each of the output parities
  int64_t rows, cols;               // input pixels of one task
  int64_t chunks;                   // of kChunk input channels
  int64_t packed_outs;              // c_out, rounded up to whole vectors

  explicit Plan(const Conv2dShape& s)
      : phases(s.upsample ? 4 : 1),
        side(s.upsample ? 2 : s.kernel),
        taps(side * side),
        pad(s.kernel / 2),
        rows(std::clamp<int64_t>((s.height + 15) / 16, 1, kTileRows)),
        cols(std::min(s.width, kTileCols)),
        chunks((s.c_in + kChunk - 1) / kChunk),
        packed_outs(round_up(s.c_out, kLanes)) {}
  int64_t tile_pixels() const { return (rows + 2 * pad) * (cols + 2 * pad); }
  int64_t tile_floats() const { return chunks * kChunk * tile_pixels(); }
  int64_t phase_floats() const { return taps * chunks * kChunk * packed_outs; }
};

/// The weight rows (of three) that tap j of a parity adds up: for even outputs {0} and {1, 2}, for odd ones
/// {0, 1} and {2}.
void upsample_rows(int64_t parity, int64_t j, int64_t* first, int64_t* last) {
  *first = j == 0 ? 0 : (parity == 0 ? 1 : 2);
  *last = j == 0 ? (parity == 0 ? 0 : 1) : 2;
}

/// packed [phase][block of kOuts][tap][input channel][out within the block], zeros where c_in or c_out ends.
Buffer<float> pack(const Conv2dShape& s, const Plan& plan, const float* weight, const Queue& queue) {
  Buffer<float> packed(plan.phases * plan.phase_floats());
  const int64_t channels = plan.chunks * kChunk, blocks = (plan.packed_outs + kOuts - 1) / kOuts;
  const auto pack_tap = [&](int64_t phase, int64_t block, int64_t tap) {
    const int64_t begin = block * kOuts;
    const int64_t width = std::min<int64_t>(kOuts, plan.packed_outs - begin);
    const int64_t used = std::min(width, s.c_out - begin);
    float* to =
        packed.data() + phase * plan.phase_floats() + plan.taps * channels * begin + tap * channels * width;
    int64_t y0 = tap / plan.side, y1 = y0, x0 = tap % plan.side, x1 = x0;
    if (s.upsample) {
      upsample_rows(phase / 2, tap / 2, &y0, &y1);
      upsample_rows(phase % 2, tap % 2, &x0, &x1);
    }
    for (int64_t c = 0; c < channels; ++c) {
      std::fill_n(to + c * width, width, 0.0f);
      if (c >= s.c_in) continue;
      for (int64_t ky = y0; ky <= y1; ++ky) {
        for (int64_t kx = x0; kx <= x1; ++kx) {
          const float* from = weight + ((ky * s.kernel + kx) * s.c_in + c) * s.c_out + begin;
          for (int64_t o = 0; o < used; ++o) to[c * width + o] += from[o];
        }
      }
    }
  };
  // Copying a small layer's weights takes less time than waking the threads.
  const int64_t step = std::max<int64_t>(1, 32768 / (channels * kOuts));
  parallel_blocks(queue, plan.phases * blocks * plan.taps, step, [&](int64_t from, int64_t end) {
    for (int64_t i = from; i < end; ++i)
      pack_tap(i / plan.taps / blocks, i / plan.taps % blocks, i % plan.taps);
  });
  return packed;
}

/// Input rows [row0 - pad, row0 + rows + pad) and the columns likewise, zeros outside the picture. With gamma
/// each passes through norm and SiLU; scales [plan.cols + 2 pad]: scratch for that.
void gather(const Conv2dShape& s, const Plan& plan, const float* x, const float* gamma, int64_t row0,
            int64_t rows, int64_t col0, int64_t cols, float* scales, float* tile) {
  const int64_t pitch = plan.cols + 2 * plan.pad, height = plan.rows + 2 * plan.pad;
  const int64_t width = cols + 2 * plan.pad;
  // Of these columns, those inside the picture.
  const int64_t inside = std::max<int64_t>(0, plan.pad - col0);
  const int64_t count = std::min(width, s.width - col0 + plan.pad) - inside;
  for (int64_t r = 0; r < rows + 2 * plan.pad; ++r) {
    const int64_t row = row0 + r - plan.pad;
    const bool outside = row < 0 || row >= s.height;
    const float* from = x + (row * s.width + col0 + inside - plan.pad) * s.c_in;
    if (gamma && !outside) pixel_scales(count, s.c_in, from, scales);
    for (int64_t chunk = 0; chunk < plan.chunks; ++chunk) {
      float* to = tile + (chunk * height + r) * pitch * kChunk;
      if (outside) {
        std::fill_n(to, width * kChunk, 0.0f);
        continue;
      }
      const int64_t c0 = chunk * kChunk, used = std::min(kChunk, s.c_in - c0);
      std::fill_n(to, inside * kChunk, 0.0f);
      to += inside * kChunk;
      if (gamma) {
        scale_pixels(count, used, from + c0, s.c_in, scales, gamma + c0, true, to, kChunk);
      } else {
        for (int64_t p = 0; p < count; ++p) {
          if (used == kChunk)
            std::memcpy(to + p * kChunk, from + p * s.c_in + c0, kChunk * sizeof(float));
          else
            std::copy_n(from + p * s.c_in + c0, used, to + p * kChunk);
        }
      }
      if (used < kChunk)
        for (int64_t p = 0; p < count; ++p) std::fill_n(to + p * kChunk + used, kChunk - used, 0.0f);
      std::fill_n(to + count * kChunk, (width - inside - count) * kChunk, 0.0f);
    }
  }
}

/// One block of outputs of one row of pixels.
struct RowJob {
  int64_t side, chunks, row_floats, chunk_floats;  // strides of the tile
  const float* tile;                               // top left tap of the row's first pixel
  const float* weight;                             // [tap][input channel][width]
  const float* bias;                               // [width], zero-padded
  const float* residual;                           // of the row's first pixel and this block, or null
  float* y;
  int64_t outs, stride;  // outputs stored, floats from one pixel's to the next one's
};

/// P pixels x V vectors of outputs, starting at pixel `first`.
template <int P, int V>
void micro_tile(const RowJob& job, int64_t first) {
  Vector sum[P][V];
  for (int v = 0; v < V; ++v) {
    const Vector bias = load(job.bias + v * kLanes);
    for (int p = 0; p < P; ++p) sum[p][v] = bias;
  }
  const float* weight = job.weight;
  for (int64_t ky = 0; ky < job.side; ++ky) {
    for (int64_t kx = 0; kx < job.side; ++kx) {
      const float* x = job.tile + ky * job.row_floats + (first + kx) * kChunk;
      for (int64_t chunk = 0; chunk < job.chunks; ++chunk, x += job.chunk_floats) {
        for (int64_t c = 0; c < kChunk; ++c, weight += V * kLanes) {
          Vector w[V];
          for (int v = 0; v < V; ++v) w[v] = load(weight + v * kLanes);
#pragma GCC unroll 12
          for (int p = 0; p < P; ++p) {
            for (int v = 0; v < V; ++v) sum[p][v] += x[p * kChunk + c] * w[v];
          }
        }
      }
    }
  }
  for (int p = 0; p < P; ++p) {
    const int64_t at = (first + p) * job.stride;
    if (job.outs == V * kLanes) {
      for (int v = 0; v < V; ++v) {
        Vector out = sum[p][v];
        if (job.residual) out += load(job.residual + at + v * kLanes);
        std::memcpy(job.y + at + v * kLanes, &out, sizeof out);
      }
    } else {
      float out[V * kLanes];
      std::memcpy(out, sum[p], sizeof out);
      for (int64_t o = 0; o < job.outs; ++o)
        job.y[at + o] = out[o] + (job.residual ? job.residual[at + o] : 0.0f);
    }
  }
}

template <int V>
void convolve_row(const RowJob& job, int64_t pixels) {
  int64_t p = 0;
  for (; p + kPixels <= pixels; p += kPixels) micro_tile<kPixels, V>(job, p);
  for (; p + 4 <= pixels; p += 4) micro_tile<4, V>(job, p);
  for (; p < pixels; ++p) micro_tile<1, V>(job, p);
}

}  // namespace

int64_t conv2d_scratch_bytes(const Conv2dShape& shape, int threads) {
  const Plan plan(shape);
  return (plan.phases * plan.phase_floats() + plan.packed_outs +
          threads * (plan.tile_floats() + plan.cols + 2 * plan.pad)) *
         static_cast<int64_t>(sizeof(float));
}

void conv2d_forward(const Conv2dShape& shape, const float* x, const float* gamma, const float* weight,
                    const float* bias, const float* residual, float* y, const Queue& queue) {
  WD_REQUIRE(shape.kernel == 3 || (shape.kernel == 1 && !shape.upsample));
  const Plan plan(shape);
  const Buffer<float> packed = pack(shape, plan, weight, queue);
  Buffer<float> padded_bias = Buffer<float>::zeros(plan.packed_outs);
  std::copy_n(bias, shape.c_out, padded_bias.data());
  const int64_t zoom = shape.upsample ? 2 : 1, out_width = shape.out_width(), c_out = shape.c_out;
  const int64_t row_floats = (plan.cols + 2 * plan.pad) * kChunk;
  const int64_t tiles_down = (shape.height + plan.rows - 1) / plan.rows;
  const int64_t tiles_across = (shape.width + plan.cols - 1) / plan.cols;

  parallel_for(queue, tiles_down * tiles_across, [&](int64_t task) {
    const int64_t row0 = task / tiles_across * plan.rows, rows = std::min(plan.rows, shape.height - row0);
    const int64_t col0 = task % tiles_across * plan.cols, cols = std::min(plan.cols, shape.width - col0);
    Buffer<float> tile(plan.tile_floats()), scales(plan.cols + 2 * plan.pad);
    gather(shape, plan, x, gamma, row0, rows, col0, cols, scales.data(), tile.data());
    for (int64_t phase = 0; phase < plan.phases; ++phase) {
      const int64_t down = phase / 2, right = phase % 2;  // output parity: where in the tile its taps begin
      for (int64_t begin = 0; begin < c_out; begin += kOuts) {
        RowJob job{};
        job.side = plan.side;
        job.chunks = plan.chunks;
        job.row_floats = row_floats;
        job.chunk_floats = (plan.rows + 2 * plan.pad) * row_floats;
        job.weight = packed.data() + phase * plan.phase_floats() + plan.taps * plan.chunks * kChunk * begin;
        job.bias = padded_bias.data() + begin;
        job.outs = std::min<int64_t>(kOuts, c_out - begin);
        job.stride = zoom * c_out;
        for (int64_t r = 0; r < rows; ++r) {
          const int64_t at = ((zoom * (row0 + r) + down) * out_width + zoom * col0 + right) * c_out + begin;
          job.tile = tile.data() + (r + down) * row_floats + right * kChunk;
          job.residual = residual ? residual + at : nullptr;
          job.y = y + at;
          if (job.outs > kLanes) {
            convolve_row<2>(job, cols);
          } else {
            convolve_row<1>(job, cols);
          }
        }
      }
    }
  });
}

}  // namespace wandistill::cpu
