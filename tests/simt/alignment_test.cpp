// Tensors that do not start at 16 bytes: one operand after the other is moved by one element, and the results
// stay the same bits, but for sums, whose order may be another.
#include "tests/simt/typed.h"

namespace wandistill::simt_test {
namespace {

constexpr int64_t kN = 77;  // groups of 4 and 8, and a rest

/// Uploads one operand after the other; number `moved` starts one element late.
struct Placer {
  DeviceSession& session;
  int moved;
  int count = 0;

  template <class T>
  Guarded<T> place(const std::vector<float>& values) {
    return {session, values, count++ == moved};
  }
};

/// run(placer) places `operands` operands and returns the results.
template <class Run>
void check(DeviceSession& session, int operands, double bound, Run run) {
  Placer plain{session, -1};
  const std::vector<float> expected = run(plain);
  REQUIRE(plain.count == operands);
  for (int moved = 0; moved < operands; ++moved) {
    CAPTURE(moved);
    Placer placer{session, moved};
    CHECK(relative_difference(run(placer), expected) <= bound);
  }
}

std::vector<float> joined(std::initializer_list<std::vector<float>> parts) {
  std::vector<float> all;
  for (const auto& part : parts) all.insert(all.end(), part.begin(), part.end());
  return all;
}

TEST_CASE("tensors that are not aligned: activations and casts") {
  on_every_device([](DeviceSession& session, const TestKernels&) {
    for_each_type([&]<class T>() {
      const OpsOf<T>& ops = session.ops<T>();
      for (auto* backward : {ops.gelu_backward, ops.silu_backward})
        check(session, 3, 0, [&](Placer& p) {
          auto x = p.place<T>(normal(kN, 1)), dy = p.place<T>(normal(kN, 2)), dx = p.place<T>(normal(kN, 3));
          backward(kN, x.data(), dy.data(), dx.data(), session.queue);
          return dx.values();
        });
      check(session, 3, 0, [&](Placer& p) {
        auto gate = p.place<T>(normal(kN, 1)), value = p.place<T>(normal(kN, 2)),
             y = p.place<T>(normal(kN, 3));
        ops.gelu_gated_forward(kN, gate.data(), value.data(), y.data(), session.queue);
        return y.values();
      });
      check(session, 3, 0, [&](Placer& p) {
        auto x = p.place<float>(normal(kN, 1)), back = p.place<float>(normal(kN, 2));
        auto narrow = p.place<T>(normal(kN, 3));
        ops.narrow(kN, x.data(), narrow.data(), session.queue);
        ops.widen(kN, narrow.data(), back.data(), session.queue);
        return back.values();
      });
    });
  });
}

TEST_CASE("tensors that are not aligned: loss and optimizer") {
  on_every_device([](DeviceSession& session, const TestKernels&) {
    check(session, 3, 0, [&](Placer& p) {
      auto prediction = p.place<float>(normal(2 * 64, 1)), target = p.place<float>(normal(2 * 64, 2)),
           gradient = p.place<float>(normal(2 * 64, 3));
      const auto weight = session.upload(normal(2, 4));
      auto errors = session.buffer<double>(2);
      session.ops<float>().weighted_mse(2, 64, prediction.data(), target.data(), weight.data(), errors.data(),
                                        gradient.data(), session.queue);
      return gradient.values();
    });
    const AdamWStep step{.lr = 1e-2f,
                         .beta1 = 0.9f,
                         .beta2 = 0.95f,
                         .eps = 1e-8f,
                         .weight_decay = 0.1f,
                         .clip = 2,
                         .ema_decay = 0.99f};
    for_each_type([&]<class T>() {
      check(session, 6, 0, [&](Placer& p) {
        UpdateState planned;
        planned.correction1 = planned.correction2 = 0.5;
        planned.ema_decay = 0.9f;
        const auto state = session.upload(std::vector<UpdateState>{planned});
        auto gradient = p.place<float>(normal(kN, 1)), weight = p.place<float>(normal(kN, 2)),
             m = p.place<float>(normal(kN, 3)), v = p.place<float>(std::vector<float>(kN, 0.5f)),
             ema = p.place<float>(normal(kN, 4));
        auto kept = p.place<T>(normal(kN, 5));
        session.ops<T>().adamw(step, state.data(), kN, gradient.data(), weight.data(), m.data(), v.data(),
                               ema.data(), kept.data(), session.queue);
        return joined({weight.values(), m.values(), v.values(), ema.values(), kept.values()});
      });
    });
  });
}

TEST_CASE("tensors that are not aligned: samplers") {
  on_every_device([](DeviceSession& session, const TestKernels&) {
    for (const float eta : {0.0f, 0.7f})
      check(session, 3, 0, [&](Placer& p) {
        DdimStep step;
        step.from = {.alpha = 0.4f, .sigma = 0.6f};
        step.to = {.alpha = 0.7f, .sigma = 0.3f};
        step.guidance = 3;
        step.eta = eta;
        auto cond = p.place<float>(normal(kN, 1)), uncond = p.place<float>(normal(kN, 2)),
             x = p.place<float>(normal(kN, 3));
        const auto device_step = session.upload(std::vector{ddim_coefficients(step)});
        session.ops<float>().ddim_update(kN, device_step.data(), eta != 0, cond.data(), uncond.data(),
                                         x.data(), session.queue);
        return x.values();
      });
    check(session, 7, 0, [&](Placer& p) {
      UnipcStep step;
      step.sigma = 0.6f;
      step.history = 3;
      step.correct = true;
      step.corrector = {0.5f, 0.25f, {0.3f, -0.2f, 0.1f}};
      step.predictor = {0.4f, 0.5f, {-0.3f, 0.2f, 0.7f}};
      auto velocity = p.place<float>(normal(kN, 1)), first = p.place<float>(normal(kN, 2)),
           second = p.place<float>(normal(kN, 3)), third = p.place<float>(normal(kN, 4)),
           x0 = p.place<float>(normal(kN, 5)), last = p.place<float>(normal(kN, 6)),
           x = p.place<float>(normal(kN, 7));
      const float* history[] = {first.data(), second.data(), third.data()};
      session.ops<float>().unipc_update(kN, step, velocity.data(), history, x0.data(), last.data(), x.data(),
                                        session.queue);
      return joined({x0.values(), last.values(), x.values()});
    });
  });
}

TEST_CASE("tensors that are not aligned: the text encoder's norm and attention") {
  on_every_device([](DeviceSession& session, const TestKernels&) {
    for_each_type([&]<class T>() {
      // A sum in another order may round to the next value.
      check(session, 3, 2 * kRounding<T> + 1e-6, [&](Placer& p) {
        auto x = p.place<T>(normal(3 * 64, 1)), weight = p.place<T>(normal(64, 2)),
             y = p.place<T>(normal(3 * 64, 3));
        session.ops<T>().rms_norm_forward(3, 64, 1e-6f, x.data(), weight.data(), y.data(), session.queue);
        return y.values();
      });
      check(session, 4, 0, [&](Placer& p) {
        const AttentionBiasedShape shape{33, 40, 2, 64, 0.125f};
        auto q = p.place<T>(normal(33 * 128, 1)), k = p.place<T>(normal(40 * 128, 2)),
             v = p.place<T>(normal(40 * 128, 3)), out = p.place<T>(normal(33 * 128, 4));
        const auto bias = session.upload(normal(2 * 72, 5));
        session.ops<T>().attention_biased_forward(shape, q.data(), k.data(), v.data(), bias.data(),
                                                  out.data(), session.queue);
        return out.values();
      });
    });
  });
}

}  // namespace
}  // namespace wandistill::simt_test
