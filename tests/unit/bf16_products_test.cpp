// Products of bfloat16 on the CPU: as the twins on rounded operands, near the twins on others, the same bits
// for any threads, and with weights converted before.
#include <algorithm>
#include <array>
#include <cstdio>

#include "kernels/cpu/bf16_tiles.h"
#include "tests/relative_error.h"
#include "tests/unit/op_compare.h"
#include "wandistill/converted_weights.h"
#include "wandistill/ops.h"
#include "wandistill/wan_transformer.h"

namespace wandistill {
namespace {

using op_test::compare;
using op_test::kOne;
using op_test::kTwo;
using op_test::nans;
using op_test::normal;

const bool kNoInstructions = !cpu_bf16::instructions();

std::vector<float> rounded(std::vector<float> x) {
  for (float& v : x) v = to_float(to_bf16(v));
  return x;
}

/// Rounding to eight bits shows, and no more than that.
void check_rounded(double error) {
  CHECK(error < 1e-2);
  CHECK(error > 2e-4);
}

using Triple = std::array<int64_t, 3>;

TEST_CASE("bf16: what this CPU multiplies with") {
  if (kNoInstructions) std::puts("SKIPPED: products of bfloat16 (this CPU has no instructions for them)");
  CHECK(kNoInstructions == (cpu::bf16_unit() == cpu::Bf16Unit::kNone));
}

TEST_CASE("bf16: packed products by every unit, both orders of each operand" *
          doctest::skip(kNoInstructions)) {
  for (const auto [m, n, k] :
       std::vector<Triple>{{1, 1, 1}, {5, 70, 7}, {16, 33, 32}, {77, 32, 129}, {33, 129, 1025}}) {
    const auto a = rounded(normal(m * k, 1)), b = rounded(normal(k * n, 2));
    for (const bool a_by_depth : {false, true})
      for (const bool b_by_depth : {false, true}) {
        MatmulShape shape = MatmulShape::dense(m, n, k, a_by_depth, !b_by_depth, 1);
        Buffer<bf16> left(cpu::packed_size(m, k)), right(cpu::packed_size(n, k));
        cpu::pack_left({a.data(), m, k, shape.lda, a_by_depth}, 0, cpu::strips(m), left.data());
        cpu::pack_right({b.data(), n, k, shape.ldb, b_by_depth}, 0, cpu::strips(n), right.data());
        for (const auto unit : {cpu::Bf16Unit::kAvx512, cpu::Bf16Unit::kAmx})
          for (const bool accumulate : {false, true}) {
            if (unit > cpu::bf16_unit()) continue;
            CAPTURE(m);
            CAPTURE(a_by_depth);
            CAPTURE(b_by_depth);
            CAPTURE(accumulate);
            shape.beta = accumulate ? 1 : 0;
            compare(
                accumulate ? std::vector<float>(size_t(m * n), 1.0f) : nans(m * n), 1e-6,
                [&](float* c, const Queue&) {
                  cpu::multiply_packed(unit, m, n, k, left.data(), right.data(), c, n, accumulate);
                },
                [&](float* c) { ref::matmul(shape, a.data(), b.data(), c, kOne); });
          }
      }
  }
}

TEST_CASE("bf16: linear layer, forward and backward" * doctest::skip(kNoInstructions)) {
  for (const auto [m, n, k] : std::vector<Triple>{{5, 7, 3}, {77, 5, 129}, {385, 64, 33}, {205, 301, 600}}) {
    CAPTURE(m);
    CAPTURE(n);
    CAPTURE(k);
    const auto x = normal(m * k, 1), w = normal(n * k, 2), bias = normal(n, 3), dy = normal(m * n, 4);
    const auto rx = rounded(x), rw = rounded(w), rdy = rounded(dy);
    std::vector<float> found(size_t(2 * m * n)), expected(size_t(2 * m * n));
    for (const float* b : {bias.data(), static_cast<const float*>(nullptr)})
      compare(
          nans(m * n), 1e-6,
          [&](float* y, const Queue& q) { cpu_bf16::linear_forward(m, n, k, x.data(), w.data(), b, y, q); },
          [&](float* y) { ref::linear_forward(m, n, k, rx.data(), rw.data(), b, y, kOne); });
    const auto forward = [&](auto* op, std::vector<float>& y) {
      op(m, n, k, x.data(), w.data(), bias.data(), y.data(), y.data() + m * n, kOne);
    };
    forward(cpu_bf16::linear_gelu_forward, found);
    forward(ref::linear_gelu_forward, expected);
    check_rounded(relative_error(found, expected));
    for (const bool accumulate : {false, true}) {
      const std::vector<float> start(size_t(m * k + n * k + n), accumulate ? 1.0f : NAN);
      const auto run = [&](auto* op, const float* x, const float* w, const float* dy, float* d,
                           const Queue& q) {
        op(m, n, k, x, w, dy, d, accumulate, d + m * k, accumulate, d + m * k + n * k, q);
      };
      const std::vector<float> sums(size_t(n), 0.0f);  // of columns: float32, of what is not rounded
      compare(
          start, 2e-6,
          [&](float* d, const Queue& q) {
            run(cpu_bf16::linear_backward, x.data(), w.data(), dy.data(), d, q);
          },
          [&](float* d) {
            run(ref::linear_backward, rx.data(), rw.data(), rdy.data(), d, kOne);
            std::fill_n(d + m * k + n * k, n, accumulate ? 1.0f : 0.0f);
            ref::add_column_sums(m, n, dy.data(), d + m * k + n * k, kOne);
          });
      found = expected = std::vector<float>(start.size(), 0.0f);
      run(cpu_bf16::linear_backward, x.data(), w.data(), dy.data(), found.data(), kOne);
      run(ref::linear_backward, x.data(), w.data(), dy.data(), expected.data(), kOne);
      check_rounded(relative_error(found, expected));
    }
  }
}

TEST_CASE("bf16: weights are converted once and again when they have changed" *
          doctest::skip(kNoInstructions)) {
  const int64_t m = 9, n = 50, k = 70;
  const auto x = normal(m * k, 1), dy = normal(m * n, 2);
  auto w = normal(n * k, 3);
  const auto run = [&](ConvertedWeights* converted) {
    std::vector<float> out(size_t(m * n + m * k));
    const Queue queue{2, nullptr, converted};
    cpu_bf16::linear_forward(m, n, k, x.data(), w.data(), nullptr, out.data(), queue);
    cpu_bf16::linear_backward(m, n, k, x.data(), w.data(), dy.data(), out.data() + m * n, false, nullptr,
                              false, nullptr, queue);
    return out;
  };
  const auto before = run(nullptr);
  ConvertedWeights converted, none(0);
  CHECK(run(&converted) == before);
  CHECK(run(&none) == before);
  for (float& v : w) v = -v;
  CHECK(run(&converted) == before);
  converted.changed();
  const auto after = run(nullptr);
  CHECK(after != before);
  CHECK(run(&converted) == after);
  CHECK(run(&none) == after);
}

TEST_CASE("bf16: attention, forward and backward" * doctest::skip(kNoInstructions)) {
  struct Case {
    int64_t queries, heads, head_dim;
    std::vector<int64_t> keys;
    bool bias;
  };
  for (const Case& c :
       {Case{5, 2, 16, {5, 5}, false}, Case{7, 3, 10, {1, 77, 5}, true}, Case{129, 2, 64, {129, 129}, false},
        Case{77, 1, 128, {257, 300}, true}, Case{65, 2, 32, {513}, true}}) {
    CAPTURE(c.queries);
    CAPTURE(c.head_dim);
    const int64_t B = int64_t(c.keys.size()), width = c.heads * c.head_dim;
    std::vector<int64_t> offsets{0};
    for (const int64_t keys : c.keys) offsets.push_back(offsets.back() + keys);
    const auto bias = normal(B, 9);
    const AttentionShape shape{B,
                               c.queries,
                               c.heads,
                               c.head_dim,
                               *std::max_element(c.keys.begin(), c.keys.end()),
                               offsets.data(),
                               c.bias ? bias.data() : nullptr,
                               1.0f / std::sqrt(float(c.head_dim))};
    const int64_t nq = B * c.queries * width, nk = offsets.back() * width, nl = B * c.heads * c.queries;
    const auto q = normal(nq, 1), k = normal(nk, 2), v = normal(nk, 3), dout = normal(nq, 4);
    const auto forward = [&](auto* op, float* out, const Queue& queue) {
      op(shape, q.data(), k.data(), v.data(), out, out + nq, queue);
    };
    std::vector<float> out(size_t(nq + nl)), found(size_t(nq + nl));
    forward(ref::attention_forward, out.data(), kOne);
    compare(
        nans(nq + nl), 1e-2,
        [&](float* to, const Queue& queue) { forward(cpu_bf16::attention_forward, to, queue); },
        [&](float* to) { std::copy(out.begin(), out.end(), to); });
    forward(cpu_bf16::attention_forward, found.data(), kOne);
    check_rounded(relative_error(found, out));
    const auto backward = [&](auto* op, float* d, const Queue& queue) {
      op(shape, q.data(), k.data(), v.data(), out.data(), out.data() + nq, dout.data(), d, d + nq,
         d + nq + nk, queue);
    };
    compare(
        nans(nq + 2 * nk), 1e-2,
        [&](float* d, const Queue& queue) { backward(cpu_bf16::attention_backward, d, queue); },
        [&](float* d) { backward(ref::attention_backward, d, kOne); });
  }
}

TEST_CASE("bf16: the transformer and its gradient, near those in float32" * doctest::skip(kNoInstructions)) {
  const WanConfig config{.heads = 2,
                         .head_dim = 32,
                         .layers = 2,
                         .ffn_dim = 192,
                         .in_channels = 16,
                         .out_channels = 16,
                         .text_dim = 96,
                         .freq_dim = 64};
  const WanTransformer exact(config), narrow(config, kCpuBf16Ops);
  const int64_t h = 8, w = 12, count = 2 * 16 * h * w;
  auto weights = normal(exact.layout().total(), 1);
  for (float& v : weights) v *= 0.1f;
  const auto latents = normal(count, 2), dvelocity = normal(count, 3);
  const float timesteps[] = {100, 900};
  const TextEmbedding text{7, normal(7 * 96, 4)};
  const TextBatch batch = TextBatch::pack(std::vector{&text, &text}, 96);
  const WanInput input{h, w, latents.data(), timesteps, &batch};
  const auto run = [&](const WanTransformer& model, const WanWeights& read, Keep keep, const Queue& queue) {
    WanActivations activations(keep);
    std::vector<float> out(size_t(count + model.layout().total()));
    model.forward(read, input, activations, out.data(), queue);
    model.backward(read, input, activations, dvelocity.data(), out.data() + count, true, queue);
    return out;
  };
  const auto expected = run(exact, weights.data(), Keep::kAll, kOne);
  const auto found = run(narrow, weights.data(), Keep::kAll, kOne);
  check_rounded(
      relative_error({found.begin(), found.begin() + count}, {expected.begin(), expected.begin() + count}));
  const double gradient =
      relative_error({found.begin() + count, found.end()}, {expected.begin() + count, expected.end()});
  CHECK(gradient < 3e-2);
  CHECK(gradient > 2e-4);
  ConvertedWeights converted;
  for (int pass = 0; pass < 2; ++pass)
    CHECK(run(narrow, {weights.data(), &converted}, Keep::kBlockInputs, kTwo) == found);
}

}  // namespace
}  // namespace wandistill
