// The samplers' and the text encoder's kernels against their twins.
#include "tests/simt/typed.h"
#include "wandistill/philox.h"

namespace wandistill::simt_test {
namespace {

const Queue kHost{};

TEST_CASE("Gaussian numbers have the host's bits, in any slices") {
  on_every_device([](DeviceSession& session, const TestKernels&) {
    for (const int64_t n : sizes_and({5000}))
      for (const int64_t first : {int64_t{0}, int64_t{1}, int64_t{6}, (int64_t{1} << 40) + 3}) {
        CAPTURE(n);
        CAPTURE(first);
        std::vector<float> expected(static_cast<size_t>(n));
        fill_gaussian(77, (uint64_t{5} << 40) + 1, first, n, expected.data());
        Guarded<float> out(session, n);
        session.ops<float>().gaussian(77, (uint64_t{5} << 40) + 1, first, n, out.data(), session.queue);
        CHECK(out.values() == expected);
      }
  });
}

/// The update as the CPU's op does it, operation by operation.
std::vector<float> ddim_as_on_the_cpu(const DdimCoefficients& c, bool noisy, const std::vector<float>& cond,
                                      const float* uncond, std::vector<float> x) {
  std::vector<float> noise(x.size());
  fill_gaussian(c.noise_seed, c.noise_stream, 0, std::ssize(noise), noise.data());
  for (size_t i = 0; i < x.size(); ++i) {
    const float m = uncond ? std::fma(c.guidance, cond[i] - uncond[i], uncond[i]) : cond[i];
    x[i] = std::fma(c.keep, x[i], c.move * m);
    if (noisy) x[i] = std::fma(c.fresh, noise[i], x[i]);
  }
  return x;
}

TEST_CASE("DDIM update: predictions, guidance, fresh noise; the bits of the CPU's op") {
  on_every_device([](DeviceSession& session, const TestKernels&) {
    for (const int64_t n : kSizes)
      for (const Prediction prediction :
           {Prediction::kFlowVelocity, Prediction::kEpsilon, Prediction::kSample})
        for (const float eta : {0.0f, 0.7f})
          for (const bool guided : {true, false}) {
            CAPTURE(n);
            CAPTURE(eta);
            DdimStep step;
            step.from = {.alpha = 0.4f, .sigma = 0.6f, .timestep = 600};
            step.to = {.alpha = 0.7f, .sigma = 0.3f, .timestep = 300};
            step.prediction = prediction;
            step.guidance = 3;
            step.eta = eta;
            step.noise_seed = 9;
            step.noise_stream = 4;
            auto x = normal(n, 1);
            const auto cond = normal(n, 2), uncond = normal(n, 3);
            Guarded<float> device_x(session, x);
            const auto device_cond = session.upload(cond), device_uncond = session.upload(uncond);
            const DdimCoefficients c = ddim_coefficients(step);
            const bool noisy = eta != 0;
            const auto device_step = session.upload(std::vector{c});
            const auto same_bits = ddim_as_on_the_cpu(c, noisy, cond, guided ? uncond.data() : nullptr, x);
            ref::ddim_update(n, &c, noisy, cond.data(), guided ? uncond.data() : nullptr, x.data(), kHost);
            session.ops<float>().ddim_update(n, device_step.data(), noisy, device_cond.data(),
                                             guided ? device_uncond.data() : nullptr, device_x.data(),
                                             session.queue);
            const auto found = device_x.values();
            CHECK(relative_difference(found, x) <= 2e-6);
            CHECK(found == same_bits);
          }
  });
}

TEST_CASE("UniPC update") {
  on_every_device([](DeviceSession& session, const TestKernels&) {
    for (const int64_t n : kSizes)
      for (const int history : {0, 1, 3})
        for (const bool correct : {true, false}) {
          CAPTURE(n);
          CAPTURE(history);
          UnipcStep step;
          step.sigma = 0.6f;
          step.history = history;
          step.correct = correct;
          step.corrector = {0.5f, 0.25f, {0.3f, -0.2f, 0.1f}};
          step.predictor = {0.4f, 0.5f, {-0.3f, 0.2f, 0.7f}};
          const auto velocity = normal(n, 1);
          std::vector<std::vector<float>> past;
          std::vector<DeviceBuffer<float>> device_past;
          const float *pointers[3] = {}, *device_pointers[3] = {};
          for (int h = 0; h < history; ++h) {
            past.push_back(normal(n, 10 + static_cast<uint32_t>(h)));
            device_past.push_back(session.upload(past.back()));
          }
          for (int h = 0; h < history; ++h) {
            pointers[h] = past[static_cast<size_t>(h)].data();
            device_pointers[h] = device_past[static_cast<size_t>(h)].data();
          }
          auto x = normal(n, 2), last = normal(n, 3);
          std::vector<float> x0(x.size());
          Guarded<float> device_x(session, x), device_last(session, last), device_x0(session, n);
          const auto device_velocity = session.upload(velocity);
          ref::unipc_update(n, step, velocity.data(), pointers, x0.data(), last.data(), x.data(), kHost);
          session.ops<float>().unipc_update(n, step, device_velocity.data(), device_pointers,
                                            device_x0.data(), device_last.data(), device_x.data(),
                                            session.queue);
          CHECK(relative_difference(device_x.values(), x) <= 2e-6);
          CHECK(relative_difference(device_last.values(), last) <= 2e-6);
          CHECK(relative_difference(device_x0.values(), x0) <= 2e-6);
        }
  });
}

TEST_CASE("T5's RMS norm, in place too") {
  on_every_device([](DeviceSession& session, const TestKernels&) {
    for_each_type([&]<class T>() {
      for (const int64_t C : sizes_and({1028, 4100})) {
        CAPTURE(C);
        const int64_t rows = C > 300 ? 2 : 7;
        const auto x = rounded<T>(normal(rows * C, 1)), weight = rounded<T>(normal(C, 2));
        std::vector<float> y(x.size());
        ref::rms_norm_forward(rows, C, 1e-6f, x.data(), weight.data(), y.data(), kHost);
        const auto device_weight = upload_as<T>(session, weight);
        Guarded<T> both(session, x), out(session, rows * C);
        session.ops<T>().rms_norm_forward(rows, C, 1e-6f, both.data(), device_weight.data(), out.data(),
                                          session.queue);
        CHECK(relative_difference(out.values(), y) <= 1.01 * kRounding<T> + 3e-6);
        session.ops<T>().rms_norm_forward(rows, C, 1e-6f, both.data(), device_weight.data(), both.data(),
                                          session.queue);
        CHECK(relative_difference(both.values(), y) <= 1.01 * kRounding<T> + 3e-6);
      }
    });
  });
}

TEST_CASE("T5's attention with the bias of the distance") {
  on_every_device([](DeviceSession& session, const TestKernels&) {
    for_each_type([&]<class T>() {
      for (const AttentionBiasedShape& s :
           {AttentionBiasedShape{1, 1, 1, 1, 1}, AttentionBiasedShape{7, 7, 3, 10, 1},
            AttentionBiasedShape{5, 77, 2, 64, 0.5f}, AttentionBiasedShape{129, 129, 1, 16, 1},
            AttentionBiasedShape{77, 129, 2, 64, 1}, AttentionBiasedShape{64, 64, 1, 128, 1},
            AttentionBiasedShape{3, 33, 1, 300, 1}, AttentionBiasedShape{257, 257, 1, 16, 1}}) {
        CAPTURE(s.queries);
        CAPTURE(s.head_dim);
        const int64_t width = s.heads * s.head_dim;
        auto q = normal(s.queries * width, 1);
        for (float& v : q) v /= std::sqrt(static_cast<float>(s.head_dim));
        q = rounded<T>(q);
        const auto k = rounded<T>(normal(s.keys * width, 2)), v = rounded<T>(normal(s.keys * width, 3));
        const auto bias = normal(s.heads * (s.queries + s.keys - 1), 4);
        std::vector<float> expected(q.size());
        ref::attention_biased_forward(s, q.data(), k.data(), v.data(), bias.data(), expected.data(), kHost);
        const auto dq = upload_as<T>(session, q), dk = upload_as<T>(session, k),
                   dv = upload_as<T>(session, v);
        const auto device_bias = session.upload(bias);
        Guarded<T> out(session, s.queries * width);
        session.ops<T>().attention_biased_forward(s, dq.data(), dk.data(), dv.data(), device_bias.data(),
                                                  out.data(), session.queue);
        CHECK(relative_difference(out.values(), expected) <= 1.01 * kRounding<T> + 1e-5);
      }
    });
  });
}

}  // namespace
}  // namespace wandistill::simt_test
