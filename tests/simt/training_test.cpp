// The kernels of loss and optimizer against their twins.
#include "tests/simt/typed.h"

namespace wandistill::simt_test {
namespace {

const Queue kHost{};

TEST_CASE("weighted squared error") {
  on_every_device([](DeviceSession& session, const TestKernels&) {
    for (const int64_t n : sizes_and({5000}))
      for (const int64_t B : {1, 3}) {
        CAPTURE(n);
        const auto p = normal(B * n, 1), t = normal(B * n, 2), w = normal(B, 3);
        std::vector<double> errors(static_cast<size_t>(B));
        std::vector<float> gradient(p.size());
        ref::weighted_mse(B, n, p.data(), t.data(), w.data(), errors.data(), gradient.data(), kHost);
        const auto device_p = session.upload(p), device_t = session.upload(t), device_w = session.upload(w);
        for (const bool wanted : {true, false}) {
          Guarded<double> device_errors(session, B);
          Guarded<float> out(session, B * n);
          session.ops<float>().weighted_mse(B, n, device_p.data(), device_t.data(), device_w.data(),
                                            device_errors.data(), wanted ? out.data() : nullptr,
                                            session.queue);
          const auto found = device_errors.values();
          for (size_t b = 0; b < errors.size(); ++b)
            CHECK(found[b] == doctest::Approx(errors[b]).epsilon(1e-6));
          if (wanted) CHECK(relative_difference(out.values(), gradient) <= 1e-6);
        }
      }
  });
}

TEST_CASE("squared norm, and what is not finite") {
  on_every_device([](DeviceSession& session, const TestKernels&) {
    for (const int64_t n : sizes_and({70001}))
      for (const int64_t offset : {0, 1}) {
        CAPTURE(n);
        auto x = normal(n + offset, 1);
        const auto norm = [&] {
          const auto device_x = session.upload(x);
          Guarded<double> result(session, 1);
          session.ops<float>().squared_norm(n, device_x.data() + offset, result.data(), session.queue);
          return result.values()[0];
        };
        double expected = 0;
        ref::squared_norm(n, x.data() + offset, &expected, kHost);
        CHECK(norm() == doctest::Approx(expected).epsilon(1e-6));
        x.back() = NAN;
        CHECK(std::isnan(norm()));
        x.back() = INFINITY;
        CHECK(std::isinf(norm()));
      }
  });
}

TEST_CASE("the plan of a step and AdamW") {
  const AdamWStep step{.lr = 1e-2f,
                       .beta1 = 0.9f,
                       .beta2 = 0.95f,
                       .eps = 1e-8f,
                       .weight_decay = 0.1f,
                       .clip = 2,
                       .ema_decay = 0.99f};
  on_every_device([&](DeviceSession& session, const TestKernels&) {
    for (const double norm : {36.0, 1.0, double{NAN}, double{INFINITY}})
      for (const int64_t updates : {0, 999}) {
        UpdateState state;
        state.updates = updates;
        state.skipped = 3;
        state.skipped_in_row = 2;
        Guarded<UpdateState> device_state(session, std::vector{state});
        const auto device_norm = session.upload(std::vector<double>{norm});
        ref::plan_update(step, &norm, &state, kHost);
        session.ops<float>().plan_update(step, device_norm.data(), device_state.data(), session.queue);
        const UpdateState found = device_state.values()[0];
        CHECK(found.updates == state.updates);
        CHECK(found.skipped == state.skipped);
        CHECK(found.skipped_in_row == state.skipped_in_row);
        CHECK((found.skip != 0) == (state.skip != 0));
        CHECK(found.correction1 == doctest::Approx(state.correction1).epsilon(1e-12));
        CHECK(found.correction2 == doctest::Approx(state.correction2).epsilon(1e-12));
        CHECK(found.gradient_scale == doctest::Approx(state.gradient_scale).epsilon(1e-6));
        CHECK(found.ema_decay == doctest::Approx(state.ema_decay).epsilon(1e-6));
        for_each_type([&]<class T>() {
          for (const int64_t n : kSizes)
            for (const bool average : {true, false}) {
              CAPTURE(n);
              const auto gradient = normal(n, 1);
              auto w = normal(n, 2), m = normal(n, 3), v = normal(n, 4), ema = normal(n, 5);
              for (float& x : v) x = std::abs(x);
              Guarded<float> dw(session, w), dm(session, m), dv(session, v), dema(session, ema);
              Guarded<T> kept(session, n);
              const auto device_gradient = session.upload(gradient);
              ref::adamw(step, &state, n, gradient.data(), w.data(), m.data(), v.data(),
                         average ? ema.data() : nullptr, nullptr, kHost);
              session.ops<T>().adamw(step, device_state.data(), n, device_gradient.data(), dw.data(),
                                     dm.data(), dv.data(), average ? dema.data() : nullptr, kept.data(),
                                     session.queue);
              CHECK(relative_difference(dw.values(), w) <= 2e-6);
              CHECK(relative_difference(dm.values(), m) <= 2e-6);
              CHECK(relative_difference(dv.values(), v) <= 2e-6);
              CHECK(relative_difference(dema.values(), ema) <= 2e-6);
              if (state.skip == 0) CHECK(kept.values() == rounded<T>(dw.values()));
            }
        });
      }
  });
}

}  // namespace
}  // namespace wandistill::simt_test
