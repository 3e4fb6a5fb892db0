// The ops of the text encoder and the VAE: fast kernels against their twins at odd sizes, and equal to the
// bit for any number of threads.
#include <doctest/doctest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "tests/unit/op_compare.h"
#include "wandistill/ops/attention_biased.h"
#include "wandistill/ops/conv2d.h"
#include "wandistill/ops/gelu_gated.h"
#include "wandistill/ops/rgb8.h"
#include "wandistill/ops/rms_norm.h"
#include "wandistill/ops/rms_norm_silu.h"
#include "wandistill/ops/round16.h"

namespace wd = wandistill;
using wd::op_test::compare;
using wd::op_test::kOne;
using wd::op_test::nans;
using wd::op_test::normal;

TEST_CASE("conv2d: cpu against ref") {
  const int64_t sizes[][4] = {{1, 1, 1, 1},     {5, 7, 3, 3},   {7, 5, 16, 16},
                              {12, 12, 16, 64}, {1, 77, 5, 17}, {77, 1, 17, 33},
                              {3, 129, 16, 3},  {9, 50, 33, 1}, {17, 13, 40, 70}};
  for (const auto& [h, w, c_in, c_out] : sizes) {
    for (const int64_t kernel : {1, 3}) {
      for (const bool upsample : {false, true}) {
        if (upsample && kernel == 1) continue;
        const wd::Conv2dShape shape{h, w, c_in, c_out, kernel, upsample};
        CAPTURE(h);
        CAPTURE(w);
        CAPTURE(c_in);
        CAPTURE(c_out);
        CAPTURE(kernel);
        CAPTURE(upsample);
        const int64_t outputs = shape.out_height() * shape.out_width() * c_out;
        const auto x = normal(h * w * c_in, 1), weight = normal(kernel * kernel * c_in * c_out, 2);
        const auto bias = normal(c_out, 3), residual = normal(outputs, 4);
        for (const float* add : {static_cast<const float*>(nullptr), residual.data()}) {
          compare(
              nans(outputs), 1e-6,
              [&](float* y, const wd::Queue& queue) {
                wd::cpu::conv2d_forward(shape, x.data(), nullptr, weight.data(), bias.data(), add, y, queue);
              },
              [&](float* y) {
                wd::ref::conv2d_forward(shape, x.data(), nullptr, weight.data(), bias.data(), add, y, kOne);
              });
        }
        // Behind norm and SiLU, in one step: the twin's numbers, and the bits of two steps.
        const auto gamma = normal(c_in, 5);
        std::vector<float> one_step, normed(x.size()), two_steps(residual.size());
        compare(
            nans(outputs), 1e-6,
            [&](float* y, const wd::Queue& queue) {
              wd::cpu::conv2d_forward(shape, x.data(), gamma.data(), weight.data(), bias.data(), nullptr, y,
                                      queue);
              one_step.assign(y, y + outputs);
            },
            [&](float* y) {
              wd::ref::conv2d_forward(shape, x.data(), gamma.data(), weight.data(), bias.data(), nullptr, y,
                                      kOne);
            });
        wd::cpu::rms_norm_silu_forward(h * w, c_in, x.data(), gamma.data(), true, normed.data(), kOne);
        wd::cpu::conv2d_forward(shape, normed.data(), nullptr, weight.data(), bias.data(), nullptr,
                                two_steps.data(), kOne);
        CHECK(one_step == two_steps);
        compare(
            residual, 1e-6,  // the residual in place
            [&](float* y, const wd::Queue& queue) {
              wd::cpu::conv2d_forward(shape, x.data(), nullptr, weight.data(), bias.data(), y, y, queue);
            },
            [&](float* y) {
              wd::ref::conv2d_forward(shape, x.data(), nullptr, weight.data(), bias.data(), y, y, kOne);
            });
      }
    }
  }
}

TEST_CASE("conv2d: scratch does not grow with the picture") {
  const wd::Conv2dShape small{64, 64, 96, 96}, large{1024, 1024, 96, 96};
  CHECK(wd::cpu::conv2d_scratch_bytes(small, 2) <= wd::cpu::conv2d_scratch_bytes(large, 2));
  CHECK(wd::cpu::conv2d_scratch_bytes(large, 2) == wd::cpu::conv2d_scratch_bytes({4096, 4096, 96, 96}, 2));
}

TEST_CASE("rms_norm_silu and rms_norm: cpu against ref") {
  for (const int64_t rows : {1, 5, 129, 1029}) {
    for (const int64_t channels : {1, 7, 16, 77, 384}) {
      CAPTURE(rows);
      CAPTURE(channels);
      auto x = normal(rows * channels, 5);
      std::fill_n(x.begin(), channels, 0.0f);  // a row without direction
      const auto gamma = normal(channels, 6);
      for (const bool silu : {false, true}) {
        compare(
            x, 1e-6,  // in place
            [&](float* y, const wd::Queue& queue) {
              wd::cpu::rms_norm_silu_forward(rows, channels, y, gamma.data(), silu, y, queue);
            },
            [&](float* y) {
              wd::ref::rms_norm_silu_forward(rows, channels, y, gamma.data(), silu, y, kOne);
            });
      }
      compare(
          nans(rows * channels), 1e-6,
          [&](float* y, const wd::Queue& queue) {
            wd::cpu::rms_norm_forward(rows, channels, 1e-6f, x.data(), gamma.data(), y, queue);
          },
          [&](float* y) {
            wd::ref::rms_norm_forward(rows, channels, 1e-6f, x.data(), gamma.data(), y, kOne);
          });
    }
  }
}

TEST_CASE("gelu_gated: cpu against ref, far from zero too") {
  for (const int64_t n : {1, 5, 77, 40001}) {
    auto gate = normal(n, 7);
    const auto value = normal(n, 8);
    for (float& g : gate) g *= 4;
    if (n > 1) gate[0] = 60.0f, gate[1] = -60.0f;
    compare(
        nans(n), 1e-6,
        [&](float* y, const wd::Queue& queue) {
          wd::cpu::gelu_gated_forward(n, gate.data(), value.data(), y, queue);
        },
        [&](float* y) { wd::ref::gelu_gated_forward(n, gate.data(), value.data(), y, kOne); });
  }
}

TEST_CASE("attention_biased: cpu against ref") {
  const int64_t sizes[][4] = {
      {1, 1, 1, 1}, {5, 7, 3, 24}, {77, 77, 4, 24}, {129, 300, 2, 64}, {33, 513, 1, 5}};
  for (const auto& [queries, keys, heads, head_dim] : sizes) {
    for (const float scale : {1.0f, 0.2f}) {
      CAPTURE(queries);
      CAPTURE(keys);
      const wd::AttentionBiasedShape shape{queries, keys, heads, head_dim, scale};
      const int64_t stride = heads * head_dim;
      const auto q = normal(queries * stride, 9), k = normal(keys * stride, 10),
                 v = normal(keys * stride, 11);
      auto bias = normal(heads * (queries + keys - 1), 12);
      for (float& b : bias) b *= 3;
      compare(
          nans(queries * stride), 3e-6,
          [&](float* out, const wd::Queue& queue) {
            wd::cpu::attention_biased_forward(shape, q.data(), k.data(), v.data(), bias.data(), out, queue);
          },
          [&](float* out) {
            wd::ref::attention_biased_forward(shape, q.data(), k.data(), v.data(), bias.data(), out, kOne);
          });
    }
  }
}

TEST_CASE("rgb8: range, rounding, order, NaN") {
  // Three pixels; channel by channel. 1/255 steps lie at x = 2 i / 255 - 1.
  const float image[] = {-1.0f, 0.0f, 1.0f, -3.0f, 2 * 100 / 255.0f - 1, 7.0f, NAN, -0.999f, 0.999f};
  std::vector<uint8_t> rgb(10, 99);
  wd::ref::rgb8(3, image, rgb.data(), kOne);
  // 0 -> 127.5 goes to the even 128.
  CHECK(rgb == std::vector<uint8_t>{0, 0, 0, 128, 100, 0, 255, 255, 255, 99});
}

TEST_CASE("round16: cpu against ref, bit by bit") {
  // Every power of two with what lies around it, ties included, and random bits.
  std::vector<float> x;
  std::mt19937 engine(13);
  for (uint32_t exponent = 0; exponent < 256; ++exponent) {
    for (const uint32_t low : {0u, 1u, 0xfffu, 0x1000u, 0x1001u, 0x3000u, 0x7fffu, 0x8000u, 0x8001u, 0x18000u,
                               0x7fefffu, 0x7ff000u, 0x7fffffu, uint32_t(engine() & 0x7fffff)}) {
      for (const uint32_t sign : {0u, 1u})
        x.push_back(std::bit_cast<float>(sign << 31 | exponent << 23 | low));
    }
  }
  for (int i = 0; i < 100'000; ++i) x.push_back(std::bit_cast<float>(uint32_t(engine())));
  const auto same = [](float a, float b) {
    return (std::isnan(a) && std::isnan(b)) || std::bit_cast<uint32_t>(a) == std::bit_cast<uint32_t>(b);
  };
  struct Pair {
    wd::Round16 *fast, *twin;
  };
  for (const auto& [fast, twin] : {Pair{wd::cpu::round_bfloat16, wd::ref::round_bfloat16},
                                   Pair{wd::cpu::round_float16, wd::ref::round_float16}}) {
    std::vector<float> expected = x;
    twin(int64_t(x.size()), expected.data(), kOne);
    for (const wd::Queue& queue : {kOne, wd::op_test::kSeven}) {
      std::vector<float> found = x;
      found.push_back(wd::op_test::kGuard);
      fast(int64_t(x.size()), found.data(), queue);
      CHECK(found.back() == wd::op_test::kGuard);
      CHECK(std::equal(expected.begin(), expected.end(), found.begin(), same));
    }
  }
}

TEST_CASE("round16: known values") {
  const float infinity = std::numeric_limits<float>::infinity();
  // Ties go to the even neighbour; the last two columns are float16's largest number and what is infinite.
  std::vector<float> brain{1 + 0x1p-8f, 1 + 0x3p-8f, -1 - 0x1.8p-8f, 0x1p-133f, 65504, 65520};
  wd::cpu::round_bfloat16(int64_t(brain.size()), brain.data(), kOne);
  CHECK(brain == std::vector<float>{1, 1 + 0x1p-6f, -1 - 0x1p-7f, 0x1p-133f, 65536, 65536});
  std::vector<float> half{1 + 0x1p-11f, 1 + 0x3p-11f, -0x1.8p-25f, 0x1p-25f, 65519, -65520};
  wd::cpu::round_float16(int64_t(half.size()), half.data(), kOne);
  CHECK(half == std::vector<float>{1, 1 + 0x1p-9f, -0x1p-24f, 0, 65504, -infinity});
}
