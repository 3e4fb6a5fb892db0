// The transformer's ops: fast kernels against their twins at odd sizes.
#include <algorithm>
#include <array>

#include "tests/unit/op_compare.h"
#include "wandistill/ops.h"

namespace wandistill {
namespace {

using op_test::compare;
using op_test::kOne;
using op_test::nans;
using op_test::normal;

constexpr int64_t kSizes[] = {1, 5, 7, 77, 129};

using Triple = std::array<int64_t, 3>;

// Several outputs of one op lie one after the other in the buffer that `compare` checks.

TEST_CASE("linear layer") {
  for (const auto [m, n, k] : std::vector<Triple>{{1, 1, 1},
                                                  {5, 7, 3},
                                                  {77, 5, 129},
                                                  {385, 64, 33},
                                                  {193, 129, 7},
                                                  {205, 301, 151}}) {  // the last: several blocks both ways
    CAPTURE(m);
    CAPTURE(n);
    CAPTURE(k);
    const auto x = normal(m * k, 1), w = normal(n * k, 2), bias = normal(n, 3), dy = normal(m * n, 4);
    for (const float* b : {bias.data(), static_cast<const float*>(nullptr)})
      compare(
          nans(m * n), 1e-6,
          [&](float* y, const Queue& q) { cpu::linear_forward(m, n, k, x.data(), w.data(), b, y, q); },
          [&](float* y) { ref::linear_forward(m, n, k, x.data(), w.data(), b, y, kOne); });
    compare(
        nans(2 * m * n), 1e-6,
        [&](float* y, const Queue& q) {
          cpu::linear_gelu_forward(m, n, k, x.data(), w.data(), bias.data(), y, y + m * n, q);
        },
        [&](float* y) {
          ref::linear_gelu_forward(m, n, k, x.data(), w.data(), bias.data(), y, y + m * n, kOne);
        });
    for (bool accumulate : {false, true}) {
      // dx, dweight, dbias; what is accumulated starts from ones.
      const std::vector<float> start(size_t(m * k + n * k + n), accumulate ? 1.0f : NAN);
      const auto run = [&](auto* op, float* d, const Queue& q) {
        op(m, n, k, x.data(), w.data(), dy.data(), d, accumulate, d + m * k, accumulate, d + m * k + n * k,
           q);
      };
      compare(
          start, 2e-6, [&](float* d, const Queue& q) { run(cpu::linear_backward, d, q); },
          [&](float* d) { run(ref::linear_backward, d, kOne); });
    }
  }
}

struct AttentionCase {
  int64_t queries, heads, head_dim;
  std::vector<int64_t> keys;  // per sample
  bool bias;
};

TEST_CASE("attention, forward and backward") {
  const std::vector<AttentionCase> cases = {{1, 1, 2, {1}, false},          {5, 2, 16, {5, 5}, false},
                                            {7, 3, 10, {1, 77, 5}, true},   {129, 2, 64, {129, 129}, false},
                                            {77, 1, 128, {257, 300}, true}, {65, 2, 32, {513}, true}};
  for (const AttentionCase& c : cases) {
    CAPTURE(c.queries);
    CAPTURE(c.head_dim);
    const int64_t B = int64_t(c.keys.size()), width = c.heads * c.head_dim;
    std::vector<int64_t> offsets{0};
    for (int64_t keys : c.keys) offsets.push_back(offsets.back() + keys);
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
    auto q = normal(nq, 1);
    for (float& v : q) v *= 3;  // scores far enough apart to matter
    const auto k = normal(nk, 2), v = normal(nk, 3), dout = normal(nq, 4);
    const auto forward = [&](auto* op, float* out, const Queue& queue) {
      op(shape, q.data(), k.data(), v.data(), out, out + nq, queue);
    };
    compare(
        nans(nq + nl), 2e-6,
        [&](float* out, const Queue& queue) { forward(cpu::attention_forward, out, queue); },
        [&](float* out) { forward(ref::attention_forward, out, kOne); });
    std::vector<float> out(size_t(nq + nl), 0.0f);
    forward(ref::attention_forward, out.data(), kOne);
    const auto backward = [&](auto* op, float* d, const Queue& queue) {
      op(shape, q.data(), k.data(), v.data(), out.data(), out.data() + nq, dout.data(), d, d + nq,
         d + nq + nk, queue);
    };
    compare(
        nans(nq + 2 * nk), 1e-5,
        [&](float* d, const Queue& queue) { backward(cpu::attention_backward, d, queue); },
        [&](float* d) { backward(ref::attention_backward, d, kOne); });
  }
}

TEST_CASE("layer norm, modulated and affine") {
  for (int64_t C : kSizes)
    for (bool modulated : {true, false}) {
      if (C == 1) continue;  // its variance is zero: the derivative is rounding times 1 / sqrt(eps)
      CAPTURE(C);
      const int64_t B = 3, L = 11, stride = modulated ? 2 * C + 5 : 0, mods = B * (2 * C + 5);
      const LayerNormShape shape{B, L, C, stride, modulated ? 1.0f : 0.0f, 1e-6f};
      const auto x = normal(B * L * C, 1), mod = normal(mods, 2), dy = normal(B * L * C, 3);
      const int64_t n = B * L * C, rows = B * L;
      const auto forward = [&](auto* op, float* out, const Queue& q) {
        op(shape, x.data(), mod.data(), mod.data() + C, out, out + n, out + n + rows, q);
      };
      compare(
          nans(n + 2 * rows), 2e-6,
          [&](float* out, const Queue& q) { forward(cpu::layer_norm_forward, out, q); },
          [&](float* out) { forward(ref::layer_norm_forward, out, kOne); });
      std::vector<float> out(size_t(n + 2 * rows), 0.0f);
      forward(ref::layer_norm_forward, out.data(), kOne);
      const auto backward = [&](auto* op, float* d, const Queue& q) {
        op(shape, x.data(), mod.data(), out.data() + n, out.data() + n + rows, dy.data(), d, d + n, d + n + C,
           q);
      };
      compare(
          std::vector<float>(size_t(n + mods), 1.0f), 1e-5,
          [&](float* d, const Queue& q) { backward(cpu::layer_norm_backward, d, q); },
          [&](float* d) { backward(ref::layer_norm_backward, d, kOne); });
    }
}

TEST_CASE("gated residual") {
  for (int64_t C : kSizes) {
    CAPTURE(C);
    const int64_t B = 2, L = 37, stride = C + 3, n = B * L * C;
    const auto x = normal(n, 1), y = normal(n, 2), gate = normal(B * stride, 3), dout = normal(n, 4);
    for (const float* g : {gate.data(), static_cast<const float*>(nullptr)})
      compare(
          nans(n), 1e-7,
          [&](float* out, const Queue& q) {
            cpu::gated_residual_forward(B, L, C, stride, x.data(), y.data(), g, out, q);
          },
          [&](float* out) {
            ref::gated_residual_forward(B, L, C, stride, x.data(), y.data(), g, out, kOne);
          });
    const auto backward = [&](auto* op, float* d, const Queue& q) {
      op(B, L, C, stride, y.data(), gate.data(), dout.data(), d, d + n, q);
    };
    std::vector<float> start(size_t(n + B * stride), 1.0f);
    std::fill(start.begin(), start.begin() + n, NAN);
    compare(
        start, 1e-6, [&](float* d, const Queue& q) { backward(cpu::gated_residual_backward, d, q); },
        [&](float* d) { backward(ref::gated_residual_backward, d, kOne); });
  }
}

TEST_CASE("RMS norm over all heads with rotary embedding") {
  for (const auto [rows, heads, D] : std::vector<Triple>{{1, 1, 2}, {5, 3, 10}, {77, 2, 64}, {129, 1, 128}})
    for (bool rotate : {true, false}) {
      CAPTURE(rows);
      CAPTURE(rotate);
      const int64_t C = heads * D, n = rows * C, positions = std::min<int64_t>(rows, 7);
      const QkNormShape shape{rows, heads, D, positions, 1e-6f};
      const auto x = normal(n, 1), weight = normal(C, 2), dy = normal(n, 3),
                 angle = normal(positions * D / 2, 4);
      std::vector<float> cos, sin;
      for (float a : angle) {
        cos.push_back(std::cos(a));
        sin.push_back(std::sin(a));
      }
      const float* co = rotate ? cos.data() : nullptr;
      const float* si = rotate ? sin.data() : nullptr;
      const auto forward = [&](auto* op, float* y, const Queue& q) {
        op(shape, x.data(), weight.data(), co, si, y, y + n, q);
      };
      compare(
          nans(n + rows), 1e-6, [&](float* y, const Queue& q) { forward(cpu::qk_norm_rope_forward, y, q); },
          [&](float* y) { forward(ref::qk_norm_rope_forward, y, kOne); });
      std::vector<float> y(size_t(n + rows), 0.0f);
      forward(ref::qk_norm_rope_forward, y.data(), kOne);
      // The gradient is overwritten in place, as the model does it.
      std::vector<float> start = dy;
      start.resize(size_t(n + C), 1.0f);
      const auto backward = [&](auto* op, float* d, const Queue& q) {
        op(shape, x.data(), weight.data(), co, si, y.data() + n, d, d, d + n, q);
      };
      compare(
          start, 1e-5, [&](float* d, const Queue& q) { backward(cpu::qk_norm_rope_backward, d, q); },
          [&](float* d) { backward(ref::qk_norm_rope_backward, d, kOne); });
    }
}

TEST_CASE("SiLU and GELU, far tails too") {
  auto x = normal(20011, 1);
  for (size_t i = 0; i < x.size(); ++i) x[i] *= i % 3 == 0 ? 30.0f : 2.0f;
  const int64_t n = int64_t(x.size());
  const auto dy = normal(n, 2);
  using Forward = std::pair<ActivationForward<float>*, ActivationForward<float>*>;
  using Backward = std::pair<ActivationBackward<float>*, ActivationBackward<float>*>;
  for (const auto& [fast, twin] :
       std::vector<Forward>{{cpu::silu_forward, ref::silu_forward}, {cpu::gelu_forward, ref::gelu_forward}})
    compare(
        nans(n), 3e-7, [&](float* y, const Queue& q) { fast(n, x.data(), y, q); },
        [&](float* y) { twin(n, x.data(), y, kOne); });
  for (const auto& [fast, twin] : std::vector<Backward>{{cpu::silu_backward, ref::silu_backward},
                                                        {cpu::gelu_backward, ref::gelu_backward}})
    compare(
        nans(n), 1e-6, [&](float* dx, const Queue& q) { fast(n, x.data(), dy.data(), dx, q); },
        [&](float* dx) { twin(n, x.data(), dy.data(), dx, kOne); });
}

TEST_CASE("weighted squared error") {
  for (int64_t n : kSizes) {
    const int64_t B = 5;
    const auto p = normal(B * n, 1), t = normal(B * n, 2), w = normal(B, 3);
    const auto run = [&](auto* op, float* out, const Queue& q) {
      std::vector<double> errors(size_t(B), NAN);
      op(B, n, p.data(), t.data(), w.data(), errors.data(), out + B, q);
      std::copy(errors.begin(), errors.end(), out);
    };
    compare(
        nans(B + B * n), 1e-6, [&](float* out, const Queue& q) { run(cpu::weighted_mse, out, q); },
        [&](float* out) { run(ref::weighted_mse, out, kOne); });
  }
}

TEST_CASE("squared norm is exact enough and sees what is not finite") {
  auto x = normal(100003, 1);
  const auto norm = [&](SquaredNorm* op, const Queue& queue) {
    double result = NAN;
    op(int64_t(x.size()), x.data(), &result, queue);
    return result;
  };
  CHECK(norm(cpu::squared_norm, kOne) == doctest::Approx(norm(ref::squared_norm, kOne)).epsilon(1e-12));
  CHECK(norm(cpu::squared_norm, Queue{3}) == norm(cpu::squared_norm, kOne));
  x[77777] = NAN;
  CHECK(std::isnan(norm(cpu::squared_norm, kOne)));
}

TEST_CASE("AdamW with the moving average") {
  for (int64_t n : {int64_t(1), int64_t(77), int64_t(40001)})
    for (int64_t step : {int64_t(1), int64_t(1000)}) {
      const auto gradient = normal(n, 1);
      std::vector<float> start = normal(4 * n, 2);  // weight, m, v, ema
      for (int64_t i = 2 * n; i < 3 * n; ++i) start[size_t(i)] = std::abs(start[size_t(i)]);
      const AdamWStep s{.lr = 1e-2f,
                        .beta1 = 0.9f,
                        .beta2 = 0.95f,
                        .eps = 1e-8f,
                        .weight_decay = 0.1f,
                        .clip = 2,
                        .ema_decay = 0.99f};
      const double squared_norm = 36;
      UpdateState state{.updates = step - 1};
      ref::plan_update(s, &squared_norm, &state, kOne);
      const auto run = [&](auto* op, float* d, const Queue& q) {
        op(s, &state, n, gradient.data(), d, d + n, d + 2 * n, d + 3 * n, nullptr, q);
      };
      compare(
          start, 1e-6, [&](float* d, const Queue& q) { run(cpu::adamw, d, q); },
          [&](float* d) { run(ref::adamw, d, kOne); });
      state.skip = 1;
      for (AdamW<float>* op : {cpu::adamw, ref::adamw}) {
        std::vector<float> same = start;
        run(op, same.data(), kOne);
        CHECK(same == start);
      }
    }
}

TEST_CASE("what a step takes from its gradient") {
  const AdamWStep step{
      .lr = 1, .beta1 = 0.9f, .beta2 = 0.5f, .eps = 0, .weight_decay = 0, .clip = 2, .ema_decay = 0.5f};
  double squared_norm = 64;
  UpdateState state;
  const auto plan = [&] { ref::plan_update(step, &squared_norm, &state, kOne); };
  plan();
  CHECK(state.updates == 1);
  CHECK(state.gradient_scale == doctest::Approx(0.25));
  CHECK(state.correction1 == doctest::Approx(0.1));
  CHECK(state.ema_decay == doctest::Approx(2.0 / 11));
  for (const double broken : {double(NAN), double(INFINITY)}) {
    squared_norm = broken;
    plan();
    CHECK(state.skip != 0);
  }
  CHECK(state.updates == 1);
  CHECK(state.skipped_in_row == 2);
  squared_norm = 1;
  for (int i = 0; i < 20; ++i) plan();
  CHECK(state.skip == 0);
  CHECK(state.skipped == 2);
  CHECK(state.skipped_in_row == 0);
  CHECK(state.correction2 == doctest::Approx(1 - std::pow(0.5, 21)));
  CHECK(state.gradient_scale == 1);
  CHECK(state.ema_decay == 0.5f);
}

TEST_CASE("patches and back") {
  const PatchShape s{2, 3, 4, 6, 2, 3};
  std::vector<float> latents(2 * 3 * 4 * 6);
  for (size_t i = 0; i < latents.size(); ++i) latents[i] = float(i);
  std::vector<float> rows = nans(int64_t(latents.size()));
  ref::patchify(s, latents.data(), rows.data(), kOne);
  // Second sample, token (1, 1), channel 2, pixel (1, 2) of the patch: row order (c, p, q).
  const auto latent = [&](int64_t b, int64_t c, int64_t y, int64_t x) {
    return float(((b * 3 + c) * 4 + y) * 6 + x);
  };
  CHECK(rows[size_t(((1 * 4 + 3) * 3 + 2) * 6 + 1 * 3 + 2)] == latent(1, 2, 3, 5));
  // unpatchify reads (p, q, c); its backward is the inverse.
  std::vector<float> back = nans(int64_t(latents.size())), again = back;
  ref::unpatchify(s, rows.data(), back.data(), kOne);
  CHECK(back[size_t(latent(1, 2, 3, 5))] == rows[size_t((1 * 4 + 3) * 18 + (1 * 3 + 2) * 3 + 2)]);
  ref::unpatchify_backward(s, back.data(), again.data(), kOne);
  CHECK(again == rows);
}

}  // namespace
}  // namespace wandistill
