// The row-wise kernels wherever their tensors lie: each in turn not aligned, samples an odd number of
// elements apart, more tokens than the grid has threads for.
#include "tests/simt/typed.h"

namespace wandistill::simt_test {
namespace {

const Queue kHost{};

// Rounding of the output, and what the order of float sums leaves.
template <class T>
constexpr double kBound = 1.01 * kRounding<T> + 1e-5;

std::vector<float> unset(int64_t n) {
  return std::vector<float>(static_cast<size_t>(n), NAN);
}

/// body.template operator()<T>(session, odd): odd is the number of the tensor that is not aligned; -1: all
/// are.
template <class Body>
void each_unaligned(int tensors, Body body) {
  on_every_device([&](DeviceSession& session, const TestKernels&) {
    for_each_type([&]<class T>() {
      for (int odd = -1; odd < tensors; ++odd) {
        CAPTURE(odd);
        body.template operator()<T>(session, odd);
      }
    });
  });
}

TEST_CASE("layout: layer norm") {
  each_unaligned(6, []<class T>(DeviceSession& session, int odd) {
    for (const int64_t gap : {0, 1}) {
      CAPTURE(gap);
      const int64_t B = 2, L = 5, C = 64, n = B * L * C;
      const LayerNormShape shape{B, L, C, 2 * C + gap, 1, 1e-6f};
      const auto x = rounded<T>(normal(n, 1)), scale = rounded<T>(normal(B * shape.stride, 2)),
                 shift = rounded<T>(normal(B * shape.stride, 3)), dy = rounded<T>(normal(n, 4));
      auto y = unset(n), mean = unset(B * L), rstd = mean, dx = rounded<T>(normal(n, 5)),
           dscale = normal(B * shape.stride, 6), dshift = normal(B * shape.stride, 7);
      Guarded<T> on_x(session, x, odd == 0), on_scale(session, scale, odd == 1),
          on_shift(session, shift, odd == 2), on_y(session, y, odd == 3), on_dy(session, dy, odd == 4),
          on_dx(session, dx, odd == 5);
      Guarded<float> on_mean(session, mean, true), on_rstd(session, rstd, true),
          on_dscale(session, dscale, true), on_dshift(session, dshift, true);
      ref::layer_norm_forward(shape, x.data(), scale.data(), shift.data(), y.data(), mean.data(), rstd.data(),
                              kHost);
      ref::layer_norm_backward(shape, x.data(), scale.data(), mean.data(), rstd.data(), dy.data(), dx.data(),
                               dscale.data(), dshift.data(), kHost);
      const OpsOf<T>& ops = session.ops<T>();
      ops.layer_norm_forward(shape, on_x.data(), on_scale.data(), on_shift.data(), on_y.data(),
                             on_mean.data(), on_rstd.data(), session.queue);
      ops.layer_norm_backward(shape, on_x.data(), on_scale.data(), on_mean.data(), on_rstd.data(),
                              on_dy.data(), on_dx.data(), on_dscale.data(), on_dshift.data(), session.queue);
      CHECK(relative_difference(on_y.values(), y) <= kBound<T>);
      CHECK(relative_difference(on_mean.values(), mean) <= 1e-5);
      CHECK(relative_difference(on_rstd.values(), rstd) <= 1e-5);
      CHECK(relative_difference(on_dx.values(), dx) <= kBound<T>);
      CHECK(relative_difference(on_dscale.values(), dscale) <= 1e-5);
      CHECK(relative_difference(on_dshift.values(), dshift) <= 1e-5);
    }
  });
}

template <class T>
void test_gated_residual(DeviceSession& session, int64_t B, int64_t L, int64_t C, int64_t stride, int odd) {
  CAPTURE(stride);
  const int64_t n = B * L * C;
  const auto x = rounded<T>(normal(n, 1)), y = rounded<T>(normal(n, 2)),
             gate = rounded<T>(normal(B * stride, 3)), dout = rounded<T>(normal(n, 4));
  auto out = unset(n), dy = unset(n), dgate = normal(B * stride, 5);
  Guarded<T> on_x(session, x, odd == 0), on_y(session, y, odd == 1), on_gate(session, gate, odd == 2),
      on_out(session, out, odd == 3), on_dout(session, dout, odd == 4), on_dy(session, dy, odd == 5);
  Guarded<float> on_dgate(session, dgate, true);
  ref::gated_residual_forward(B, L, C, stride, x.data(), y.data(), gate.data(), out.data(), kHost);
  ref::gated_residual_backward(B, L, C, stride, y.data(), gate.data(), dout.data(), dy.data(), dgate.data(),
                               kHost);
  const OpsOf<T>& ops = session.ops<T>();
  ops.gated_residual_forward(B, L, C, stride, on_x.data(), on_y.data(), on_gate.data(), on_out.data(),
                             session.queue);
  ops.gated_residual_backward(B, L, C, stride, on_y.data(), on_gate.data(), on_dout.data(), on_dy.data(),
                              on_dgate.data(), session.queue);
  CHECK(relative_difference(on_out.values(), out) <= kBound<T>);
  CHECK(relative_difference(on_dy.values(), dy) <= kBound<T>);
  CHECK(relative_difference(on_dgate.values(), dgate) <= 1e-5);
}

TEST_CASE("layout: gated residual") {
  each_unaligned(6, []<class T>(DeviceSession& session, int odd) {
    for (const int64_t stride : {64, 65}) test_gated_residual<T>(session, 2, 5, 64, stride, odd);
  });
  DeviceSession session(make_simt_device({}), 2);
  test_gated_residual<float>(session, 1, 8192 + 77, 4, 4, -1);
}

TEST_CASE("layout: RMS norm and rotary embedding") {
  each_unaligned(7, []<class T>(DeviceSession& session, int odd) {
    // Heads that 16 bytes divide, and some that they do not although they divide the row.
    for (const int64_t head_dim : {16, 10}) {
      CAPTURE(head_dim);
      const QkNormShape shape{6, 4, head_dim, 3, 1e-6f};
      const int64_t C = shape.heads * head_dim, n = shape.rows * C;
      const auto x = rounded<T>(normal(n, 1)), weight = rounded<T>(normal(C, 2)),
                 dy = rounded<T>(normal(n, 3));
      std::vector<float> cos(static_cast<size_t>(shape.positions * head_dim / 2)), sin = cos;
      for (size_t i = 0; i < cos.size(); ++i) {
        cos[i] = std::cos(static_cast<float>(i));
        sin[i] = std::sin(static_cast<float>(i));
      }
      auto y = unset(n), rstd = unset(shape.rows), dx = unset(n), dweight = normal(C, 4);
      Guarded<T> on_x(session, x, odd == 0), on_weight(session, weight, odd == 1), on_y(session, y, odd == 2),
          on_dy(session, dy, odd == 3), on_dx(session, dx, odd == 4);
      Guarded<float> on_cos(session, cos, odd == 5), on_sin(session, sin, odd == 6),
          on_rstd(session, rstd, true), on_dweight(session, dweight, true);
      ref::qk_norm_rope_forward(shape, x.data(), weight.data(), cos.data(), sin.data(), y.data(), rstd.data(),
                                kHost);
      ref::qk_norm_rope_backward(shape, x.data(), weight.data(), cos.data(), sin.data(), rstd.data(),
                                 dy.data(), dx.data(), dweight.data(), kHost);
      const OpsOf<T>& ops = session.ops<T>();
      ops.qk_norm_rope_forward(shape, on_x.data(), on_weight.data(), on_cos.data(), on_sin.data(),
                               on_y.data(), on_rstd.data(), session.queue);
      ops.qk_norm_rope_backward(shape, on_x.data(), on_weight.data(), on_cos.data(), on_sin.data(),
                                on_rstd.data(), on_dy.data(), on_dx.data(), on_dweight.data(), session.queue);
      CHECK(relative_difference(on_y.values(), y) <= kBound<T>);
      CHECK(relative_difference(on_rstd.values(), rstd) <= 1e-5);
      CHECK(relative_difference(on_dx.values(), dx) <= kBound<T>);
      CHECK(relative_difference(on_dweight.values(), dweight) <= 1e-5);
    }
  });
}

}  // namespace
}  // namespace wandistill::simt_test
