// The twins' backward passes against central differences of their forward passes; the fast kernels are held
// to the twins elsewhere. Then the whole transformer, on either set of ops.
#include <doctest/doctest.h>

#include <functional>

#include "tests/unit/op_compare.h"
#include "wandistill/wan_transformer.h"

namespace wandistill {
namespace {

using op_test::kOne;
using op_test::normal;

/// The derivative of f along `direction` at x, by central differences, against the dot product of `gradient`
/// with it. A random direction sees an error in any element. floor: a norm below which a gradient counts as
/// rounding.
void check_gradient(const std::function<double()>& f, std::vector<float>& x, const float* gradient,
                    double bound, double step = 1e-2, double floor = 0) {
  const std::vector<float> at = x, direction = normal(int64_t(x.size()), 77);
  const double h = step / std::sqrt(double(x.size()));
  const auto moved = [&](double t) {
    for (size_t i = 0; i < x.size(); ++i) x[i] = float(at[i] + t * direction[i]);
    return f();
  };
  // Two step widths, extrapolated: the error is of fourth order.
  const double near = (moved(h) - moved(-h)) / (2 * h), far = (moved(2 * h) - moved(-2 * h)) / (4 * h);
  x = at;
  double expected = (4 * near - far) / 3, found = 0, scale = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    found += double(gradient[i]) * direction[i];
    scale += double(gradient[i]) * gradient[i];
  }
  REQUIRE(std::isfinite(found));
  CHECK(std::abs(found - expected) <= bound * std::max(std::sqrt(scale), floor));
}

double dot(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0;
  for (size_t i = 0; i < b.size(); ++i) sum += double(a[i]) * b[i];
  return sum;
}

constexpr double kBound = 2e-3;

TEST_CASE("gradient of the linear layer") {
  const int64_t m = 5, n = 7, k = 3;
  auto x = normal(m * k, 1), w = normal(n * k, 2), bias = normal(n, 3);
  const auto dy = normal(m * n, 4);
  std::vector<float> y(size_t(m * n), 0.0f), dx(x.size()), dw(w.size()), db(bias.size());
  const auto f = [&] {
    ref::linear_forward(m, n, k, x.data(), w.data(), bias.data(), y.data(), kOne);
    return dot(y, dy);
  };
  ref::linear_backward(m, n, k, x.data(), w.data(), dy.data(), dx.data(), false, dw.data(), false, db.data(),
                       kOne);
  check_gradient(f, x, dx.data(), kBound);
  check_gradient(f, w, dw.data(), kBound);
  check_gradient(f, bias, db.data(), kBound);
}

TEST_CASE("gradient of attention") {
  const int64_t heads = 2, D = 4, queries = 5, offsets[] = {0, 3, 10};
  const float bias[] = {0.5f, 2.0f};
  const AttentionShape s{2, queries, heads, D, 7, offsets, bias, 0.5f};
  auto q = normal(2 * queries * heads * D, 1), k = normal(10 * heads * D, 2), v = normal(10 * heads * D, 3);
  const auto dout = normal(int64_t(q.size()), 4);
  std::vector<float> out(q.size()), lse(size_t(2 * heads * queries)), dq(q.size()), dk(k.size()),
      dv(v.size());
  const auto f = [&] {
    ref::attention_forward(s, q.data(), k.data(), v.data(), out.data(), lse.data(), kOne);
    return dot(out, dout);
  };
  f();
  ref::attention_backward(s, q.data(), k.data(), v.data(), out.data(), lse.data(), dout.data(), dq.data(),
                          dk.data(), dv.data(), kOne);
  check_gradient(f, q, dq.data(), kBound);
  check_gradient(f, k, dk.data(), kBound);
  check_gradient(f, v, dv.data(), kBound);
}

TEST_CASE("gradient of layer norm") {
  for (bool modulated : {true, false}) {
    const int64_t B = 2, L = 5, C = 7, stride = modulated ? C : 0;
    const LayerNormShape s{B, L, C, stride, modulated ? 1.0f : 0.0f, 1e-6f};
    auto x = normal(B * L * C, 1), scale = normal(B * C, 2), shift = normal(B * C, 3);
    if (!modulated) scale.resize(size_t(C)), shift.resize(size_t(C));
    const auto dy = normal(B * L * C, 4);
    std::vector<float> y(x.size()), mean(size_t(B * L)), rstd(mean.size()), dx(x.size()),
        dscale(scale.size()), dshift(shift.size());
    const auto f = [&] {
      ref::layer_norm_forward(s, x.data(), scale.data(), shift.data(), y.data(), mean.data(), rstd.data(),
                              kOne);
      return dot(y, dy);
    };
    f();
    ref::layer_norm_backward(s, x.data(), scale.data(), mean.data(), rstd.data(), dy.data(), dx.data(),
                             dscale.data(), dshift.data(), kOne);
    check_gradient(f, x, dx.data(), kBound);
    check_gradient(f, scale, dscale.data(), kBound);
    check_gradient(f, shift, dshift.data(), kBound);
  }
}

TEST_CASE("gradient of the gated residual") {
  const int64_t B = 2, L = 5, C = 7;
  auto y = normal(B * L * C, 2), gate = normal(B * C, 3);
  const auto x = normal(B * L * C, 1), dout = normal(B * L * C, 4);
  std::vector<float> out(x.size()), dy(y.size()), dgate(gate.size());
  const auto f = [&] {
    ref::gated_residual_forward(B, L, C, C, x.data(), y.data(), gate.data(), out.data(), kOne);
    return dot(out, dout);
  };
  ref::gated_residual_backward(B, L, C, C, y.data(), gate.data(), dout.data(), dy.data(), dgate.data(), kOne);
  check_gradient(f, y, dy.data(), kBound);
  check_gradient(f, gate, dgate.data(), kBound);
}

TEST_CASE("gradient of the RMS norm with rotary embedding") {
  for (bool rotate : {true, false}) {
    const QkNormShape s{7, 2, 6, 5, 1e-6f};
    auto x = normal(7 * 12, 1), weight = normal(12, 2);
    const auto dy = normal(7 * 12, 3);
    std::vector<float> cos, sin;
    for (float a : normal(5 * 3, 4)) {
      cos.push_back(std::cos(a));
      sin.push_back(std::sin(a));
    }
    const float* co = rotate ? cos.data() : nullptr;
    std::vector<float> y(x.size()), rstd(7), dx(x.size()), dweight(weight.size());
    const auto f = [&] {
      ref::qk_norm_rope_forward(s, x.data(), weight.data(), co, sin.data(), y.data(), rstd.data(), kOne);
      return dot(y, dy);
    };
    f();
    ref::qk_norm_rope_backward(s, x.data(), weight.data(), co, sin.data(), rstd.data(), dy.data(), dx.data(),
                               dweight.data(), kOne);
    check_gradient(f, x, dx.data(), kBound);
    check_gradient(f, weight, dweight.data(), kBound);
  }
}

TEST_CASE("gradient of the activations") {
  auto x = normal(129, 1);
  const auto dy = normal(129, 2);
  std::vector<float> y(x.size()), dx(x.size());
  using Both = std::pair<ActivationForward<float>*, ActivationBackward<float>*>;
  for (const auto& [forward, backward] :
       std::vector<Both>{{ref::silu_forward, ref::silu_backward}, {ref::gelu_forward, ref::gelu_backward}}) {
    const auto f = [&, forward = forward] {
      forward(129, x.data(), y.data(), kOne);
      return dot(y, dy);
    };
    backward(129, x.data(), dy.data(), dx.data(), kOne);
    check_gradient(f, x, dx.data(), kBound);
  }
}

TEST_CASE("gradient of the weighted squared error") {
  auto p = normal(3 * 5, 1);
  const auto t = normal(3 * 5, 2), w = normal(3, 3);
  std::vector<float> dp(p.size());
  std::vector<double> errors(3);
  const auto f = [&] {
    ref::weighted_mse(3, 5, p.data(), t.data(), w.data(), errors.data(), dp.data(), kOne);
    return w[0] * errors[0] + w[1] * errors[1] + w[2] * errors[2];
  };
  f();
  const std::vector<float> gradient = dp;
  check_gradient(f, p, gradient.data(), kBound);
}

/// A transformer with unlike sizes everywhere, so that mixed-up dimensions show.
struct SmallModel {
  WanConfig config;
  std::vector<float> latents, timesteps{900, 13, 500};
  TextEmbedding texts[3];
  TextBatch text;
  int64_t h = 4, w = 6;

  SmallModel() {
    config.heads = 2;
    config.head_dim = 14;
    config.layers = 2;
    config.ffn_dim = 40;
    config.in_channels = 3;
    config.out_channels = 5;
    config.text_dim = 9;
    config.freq_dim = 16;
    latents = normal(3 * config.in_channels * h * w, 1);
    const int64_t tokens[] = {1, 5, kTextPositions};  // the last one leaves no padding
    std::vector<const TextEmbedding*> all;
    for (int i = 0; i < 3; ++i) {
      texts[i] = {tokens[i], normal(tokens[i] * config.text_dim, uint32_t(10 + i))};
      all.push_back(&texts[i]);
    }
    text = TextBatch::pack(all, config.text_dim);
  }
  WanInput input() const { return {h, w, latents.data(), timesteps.data(), &text}; }
  std::vector<float> weights(const ParameterLayout& layout) const {
    std::vector<float> all = normal(layout.total(), 20);
    for (float& v : all) v *= 0.3f;
    return all;
  }
};

TEST_CASE("the transformer's gradient, every parameter, plain twins") {
  const SmallModel m;
  const WanTransformer model(m.config, kRefOps);
  std::vector<float> weights = m.weights(model.layout());
  const auto dvelocity = normal(3 * m.config.out_channels * m.h * m.w, 30);
  std::vector<float> velocity(dvelocity.size());
  WanActivations activations(Keep::kAll);
  model.forward(weights.data(), m.input(), activations, velocity.data(), kOne);
  std::vector<float> gradient(weights.size(), NAN);
  model.backward(weights.data(), m.input(), activations, dvelocity.data(), gradient.data(), false, kOne);
  const double norm = std::sqrt(dot(gradient, gradient));
  for (const ParameterInfo& p : model.layout().parameters()) {
    CAPTURE(p.name);
    std::vector<float> tensor(weights.begin() + p.offset, weights.begin() + p.offset + p.size);
    const auto f = [&] {
      std::copy(tensor.begin(), tensor.end(), weights.begin() + p.offset);
      WanActivations scratch(Keep::kNothing);
      model.forward(weights.data(), m.input(), scratch, velocity.data(), kOne);
      return dot(velocity, dvelocity);
    };
    check_gradient(f, tensor, gradient.data() + p.offset, 1e-2, 5e-2, 1e-3 * norm);
    std::copy(tensor.begin(), tensor.end(), weights.begin() + p.offset);
  }
}

TEST_CASE(
    "the transformer on fast kernels: as on the twins, for any threads, with and without checkpointing") {
  const SmallModel m;
  const WanTransformer plain(m.config, kRefOps), fast(m.config);
  const std::vector<float> weights = m.weights(fast.layout());
  const auto dvelocity = normal(3 * m.config.out_channels * m.h * m.w, 30);
  std::vector<float> expected_velocity(dvelocity.size()), expected(weights.size(), NAN);
  WanActivations activations(Keep::kAll);
  plain.forward(weights.data(), m.input(), activations, expected_velocity.data(), kOne);
  plain.backward(weights.data(), m.input(), activations, dvelocity.data(), expected.data(), false, kOne);
  const auto run = [&](Keep keep, int threads, float start = NAN) {
    WanActivations own(keep);
    std::vector<float> out(dvelocity.size()), gradient(weights.size(), start);
    std::vector<size_t> groups;
    fast.forward(weights.data(), m.input(), own, out.data(), Queue{threads});
    fast.backward(weights.data(), m.input(), own, dvelocity.data(), gradient.data(), !std::isnan(start),
                  Queue{threads}, [&](size_t group) { groups.push_back(group); });
    CHECK(groups == std::vector<size_t>{0, 1, 2, 3});
    out.insert(out.end(), gradient.begin(), gradient.end());
    return out;
  };
  const std::vector<float> one = run(Keep::kAll, 1);
  CHECK(run(Keep::kAll, 3) == one);
  CHECK(run(Keep::kAll, 2, 0.0f) == one);
  CHECK(run(Keep::kBlockInputs, 2) == one);
  const auto error = [](const float* a, const std::vector<float>& b) {
    double difference = 0, norm = 0;
    for (size_t i = 0; i < b.size(); ++i) {
      difference += std::pow(double(a[i]) - b[i], 2);
      norm += std::pow(double(b[i]), 2);
    }
    return std::sqrt(difference / norm);
  };
  CHECK(error(one.data(), expected_velocity) < 2e-6);
  CHECK(error(one.data() + expected_velocity.size(), expected) < 1e-5);
  WanActivations inference(Keep::kNothing);
  std::vector<float> velocity(dvelocity.size());
  fast.forward(weights.data(), m.input(), inference, velocity.data(), kOne);
  CHECK(std::equal(velocity.begin(), velocity.end(), one.begin()));
}

TEST_CASE("sizes that do not fit are refused by name") {
  WanConfig c = SmallModel().config;
  CHECK_THROWS_WITH(c.tokens(5, 6), doctest::Contains("5 x 6"));
  c.head_dim = 7;
  CHECK_THROWS_WITH(c.validate("here"), doctest::Contains("here: attention_head_dim is 7"));
  const TextEmbedding empty;
  const TextEmbedding* list[] = {&empty};
  CHECK_THROWS_AS(TextBatch::pack(list, 9), std::runtime_error);
}

}  // namespace
}  // namespace wandistill
