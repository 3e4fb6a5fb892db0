// The kernels that work row by row: layer norm, gated residual, RMS norm with rotary embedding, modulation.
#include <array>

#include "tests/simt/typed.h"

namespace wandistill::simt_test {
namespace {

const Queue kHost{};
// Channels: fewer than a warp's, ragged, aligned, more than one pass of a block's threads, more than are
// kept.
const std::vector<int64_t> kChannels = sizes_and({1028, 2052, 4100, 8196});

// Rounding of the output, and what the order of float sums leaves.
template <class T>
constexpr double kBound = 1.01 * kRounding<T> + 1e-5;

struct NormCase {
  LayerNormShape shape;
  std::vector<float> x, modulation, dy, dx;
};

template <class T>
NormCase norm_case(int64_t C, bool modulated) {
  const int64_t B = 2, L = C > 300 ? 1 : 37;
  NormCase c{{B, L, C, modulated ? 2 * C : 0, modulated ? 1.0f : 0.0f, 1e-6f},
             normal(B * L * C, 1),
             rounded<T>(normal(B * 2 * C, 2)),
             rounded<T>(normal(B * L * C, 3)),
             rounded<T>(normal(B * L * C, 4))};
  for (float& v : c.x) v += 3;  // a mean that is large against the spread
  c.x = rounded<T>(c.x);
  return c;
}

TEST_CASE("layer norm, forward") {
  on_every_device([](DeviceSession& session, const TestKernels&) {
    for_each_type([&]<class T>() {
      for (const int64_t C : kChannels)
        for (const bool modulated : {true, false}) {
          CAPTURE(C);
          CAPTURE(modulated);
          const NormCase c = norm_case<T>(C, modulated);
          const int64_t rows = c.shape.batch * c.shape.tokens;
          std::vector<float> y(c.x.size()), mean(static_cast<size_t>(rows)), rstd(mean.size());
          ref::layer_norm_forward(c.shape, c.x.data(), c.modulation.data(), c.modulation.data() + C, y.data(),
                                  mean.data(), rstd.data(), kHost);
          const auto x = upload_as<T>(session, c.x), modulation = upload_as<T>(session, c.modulation);
          Guarded<T> out(session, rows * C);
          Guarded<float> means(session, rows), rstds(session, rows);
          session.ops<T>().layer_norm_forward(c.shape, x.data(), modulation.data(), modulation.data() + C,
                                              out.data(), means.data(), rstds.data(), session.queue);
          // One channel: the variance is rounding, which 1 / sqrt(eps) makes large.
          const auto found = out.values();
          if (C > 1) CHECK(relative_difference(found, y) <= kBound<T>);
          CHECK(relative_difference(means.values(), mean) <= 1e-5);
          const auto found_rstd = rstds.values();
          if (C > 1) CHECK(relative_difference(found_rstd, rstd) <= 2e-5);
        }
    });
  });
}

TEST_CASE("layer norm, backward") {
  on_every_device([](DeviceSession& session, const TestKernels&) {
    for_each_type([&]<class T>() {
      for (const int64_t C : kChannels)
        for (const bool modulated : {true, false}) {
          if (C == 1) continue;
          CAPTURE(C);
          CAPTURE(modulated);
          const NormCase c = norm_case<T>(C, modulated);
          const int64_t rows = c.shape.batch * c.shape.tokens;
          std::vector<float> y(c.x.size()), mean(static_cast<size_t>(rows)), rstd(mean.size());
          ref::layer_norm_forward(c.shape, c.x.data(), c.modulation.data(), c.modulation.data() + C, y.data(),
                                  mean.data(), rstd.data(), kHost);
          std::vector<float> dx = c.dx, sums = normal(2 * 2 * C, 5);  // all are added to
          const std::vector<float> start = sums;
          ref::layer_norm_backward(c.shape, c.x.data(), c.modulation.data(), mean.data(), rstd.data(),
                                   c.dy.data(), dx.data(), sums.data(), sums.data() + C, kHost);
          const auto x = upload_as<T>(session, c.x), modulation = upload_as<T>(session, c.modulation),
                     dy = upload_as<T>(session, c.dy);
          const auto means = session.upload(mean), rstds = session.upload(rstd);
          Guarded<T> gradient(session, c.dx);
          Guarded<float> device_sums(session, start);
          session.ops<T>().layer_norm_backward(c.shape, x.data(), modulation.data(), means.data(),
                                               rstds.data(), dy.data(), gradient.data(), device_sums.data(),
                                               device_sums.data() + C, session.queue);
          CHECK(relative_difference(gradient.values(), dx) <= kBound<T>);
          CHECK(relative_difference(device_sums.values(), sums) <= 1e-5);
        }
    });
  });
}

TEST_CASE("gated residual, forward and backward") {
  on_every_device([](DeviceSession& session, const TestKernels&) {
    for_each_type([&]<class T>() {
      for (const int64_t C : kSizes)
        for (const int64_t L : {1, 77}) {
          CAPTURE(C);
          CAPTURE(L);
          const int64_t B = 3, stride = 6 * C, n = B * L * C;
          const auto x = rounded<T>(normal(n, 1)), y = rounded<T>(normal(n, 2)),
                     gate = rounded<T>(normal(B * stride, 3)), dout = rounded<T>(normal(n, 4));
          const auto device_x = upload_as<T>(session, x), device_y = upload_as<T>(session, y),
                     device_gate = upload_as<T>(session, gate), device_dout = upload_as<T>(session, dout);
          for (const bool gated : {true, false}) {
            std::vector<float> expected(x.size());
            ref::gated_residual_forward(B, L, C, stride, x.data(), y.data(), gated ? gate.data() : nullptr,
                                        expected.data(), kHost);
            Guarded<T> out(session, n);
            session.ops<T>().gated_residual_forward(B, L, C, stride, device_x.data(), device_y.data(),
                                                    gated ? device_gate.data() : nullptr, out.data(),
                                                    session.queue);
            CHECK(relative_difference(out.values(), expected) <= kBound<T>);
          }
          std::vector<float> dy(y.size()), dgate = normal(B * stride, 5);
          Guarded<float> device_dgate(session, dgate);
          ref::gated_residual_backward(B, L, C, stride, y.data(), gate.data(), dout.data(), dy.data(),
                                       dgate.data(), kHost);
          Guarded<T> out(session, n);
          session.ops<T>().gated_residual_backward(B, L, C, stride, device_y.data(), device_gate.data(),
                                                   device_dout.data(), out.data(), device_dgate.data(),
                                                   session.queue);
          CHECK(relative_difference(out.values(), dy) <= kBound<T>);
          CHECK(relative_difference(device_dgate.values(), dgate) <= 1e-5);
        }
    });
  });
}

TEST_CASE("RMS norm across heads and rotary embedding, forward and backward") {
  on_every_device([](DeviceSession& session, const TestKernels&) {
    for_each_type([&]<class T>() {
      for (const auto& [heads, head_dim, rows] : {std::array<int64_t, 3>{1, 2, 1},
                                                  {3, 10, 7},
                                                  {2, 16, 77},
                                                  {3, 22, 129},
                                                  {8, 64, 5},
                                                  {5, 128, 3},
                                                  {40, 128, 2},
                                                  {1, 8, 257}})
        for (const bool rotated : {true, false}) {
          CAPTURE(heads);
          CAPTURE(head_dim);
          CAPTURE(rotated);
          const int64_t C = heads * head_dim, positions = rotated ? std::max<int64_t>(1, rows / 2) : 1;
          const QkNormShape shape{rows, heads, head_dim, positions, 1e-6f};
          const auto x = rounded<T>(normal(rows * C, 1)), weight = rounded<T>(normal(C, 2)),
                     dy = rounded<T>(normal(rows * C, 3));
          std::vector<float> cos(static_cast<size_t>(positions * head_dim / 2)), sin = cos;
          for (size_t i = 0; i < cos.size(); ++i) {
            cos[i] = std::cos(static_cast<float>(i));
            sin[i] = std::sin(static_cast<float>(i));
          }
          const auto device_cos = session.upload(cos), device_sin = session.upload(sin);
          const float *c = rotated ? cos.data() : nullptr, *s = rotated ? sin.data() : nullptr;
          const float *dc = rotated ? device_cos.data() : nullptr,
                      *ds = rotated ? device_sin.data() : nullptr;
          std::vector<float> y(x.size()), rstd(static_cast<size_t>(rows)), dx(x.size()),
              dweight = normal(C, 4);
          Guarded<float> device_dweight(session, dweight);
          ref::qk_norm_rope_forward(shape, x.data(), weight.data(), c, s, y.data(), rstd.data(), kHost);
          ref::qk_norm_rope_backward(shape, x.data(), weight.data(), c, s, rstd.data(), dy.data(), dx.data(),
                                     dweight.data(), kHost);
          const auto device_x = upload_as<T>(session, x), device_weight = upload_as<T>(session, weight);
          Guarded<T> out(session, rows * C);
          Guarded<float> rstds(session, rows);
          session.ops<T>().qk_norm_rope_forward(shape, device_x.data(), device_weight.data(), dc, ds,
                                                out.data(), rstds.data(), session.queue);
          CHECK(relative_difference(out.values(), y) <= kBound<T>);
          CHECK(relative_difference(rstds.values(), rstd) <= 1e-5);
          const auto given_rstd = session.upload(rstd);
          Guarded<T> both(session, dy);  // dx in place of dy
          session.ops<T>().qk_norm_rope_backward(shape, device_x.data(), device_weight.data(), dc, ds,
                                                 given_rstd.data(), both.data(), both.data(),
                                                 device_dweight.data(), session.queue);
          CHECK(relative_difference(both.values(), dx) <= kBound<T>);
          CHECK(relative_difference(device_dweight.values(), dweight) <= 1e-5);
        }
    });
  });
}

TEST_CASE("modulation, forward and backward") {
  on_every_device([](DeviceSession& session, const TestKernels&) {
    for_each_type([&]<class T>() {
      for (const int64_t period : kSizes)
        for (const int64_t repetitions : {1, 2}) {
          const int64_t B = 3, n = period * repetitions;
          CAPTURE(n);
          const auto table = rounded<T>(normal(n, 1)), shared = rounded<T>(normal(B * period, 2));
          const auto dout = normal(B * n, 3);
          std::vector<float> out(dout.size()), dtable = normal(n, 4), dshared = normal(B * period, 5);
          Guarded<float> device_dtable(session, dtable), device_dshared(session, dshared);
          ref::modulation_forward(B, n, period, table.data(), shared.data(), out.data(), kHost);
          ref::modulation_backward(B, n, period, dout.data(), dtable.data(), dshared.data(), kHost);
          const auto device_table = upload_as<T>(session, table),
                     device_shared = upload_as<T>(session, shared);
          Guarded<T> sums(session, B * n);
          session.ops<T>().modulation_forward(B, n, period, device_table.data(), device_shared.data(),
                                              sums.data(), session.queue);
          CHECK(relative_difference(sums.values(), out) <= kBound<T>);
          const auto device_dout = session.upload(dout);
          session.ops<T>().modulation_backward(B, n, period, device_dout.data(), device_dtable.data(),
                                               device_dshared.data(), session.queue);
          CHECK(relative_difference(device_dtable.values(), dtable) <= 1e-6);
          CHECK(relative_difference(device_dshared.values(), dshared) <= 1e-6);
        }
    });
  });
}

TEST_CASE("sums over rows have the same bits in every order") {
  std::vector<float> first;
  for (const SimtCase& c : kSimtCases) {
    DeviceSession session(make_simt_device(c.options), c.threads);
    const int64_t rows = 129, C = 68;
    const auto x = session.upload(normal(rows * C, 1)), dy = session.upload(normal(rows * C, 2)),
               weight = session.upload(normal(C, 3)), rstd = session.upload(normal(rows, 4));
    auto dx = session.buffer<float>(rows * C), dweight = session.upload(normal(C, 5));
    session.ops<float>().qk_norm_rope_backward({rows, 1, C, 1, 1e-6f}, x.data(), weight.data(), nullptr,
                                               nullptr, rstd.data(), dy.data(), dx.data(), dweight.data(),
                                               session.queue);
    const auto found = session.download(dweight);
    if (first.empty()) first = found;
    CHECK(found == first);
  }
}

}  // namespace
}  // namespace wandistill::simt_test
