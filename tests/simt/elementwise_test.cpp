// The element-wise kernels against their twins: activations, casts, guidance, patches, the timestep
// embedding.
#include "tests/simt/typed.h"

namespace wandistill::simt_test {
namespace {

const Queue kHost{};

/// Values 3 times wider than normal ones, rounded to T.
template <class T>
std::vector<float> wide(int64_t n, uint32_t seed) {
  auto x = normal(n, seed);
  for (float& v : x) v *= 3;
  return rounded<T>(x);
}

template <class T>
void check_activation(DeviceSession& session, ActivationForward<float>* twin,
                      ActivationBackward<float>* twin_backward, ActivationForward<T>* forward,
                      ActivationBackward<T>* backward, int64_t n, int64_t offset) {
  CAPTURE(n);
  CAPTURE(offset);
  const double bound = 1.01 * kRounding<T> + 3e-6;
  const auto x = wide<T>(n, 1), dy = wide<T>(n, 2);
  std::vector<float> y(static_cast<size_t>(n)), dx(y.size());
  twin(n, x.data(), y.data(), kHost);
  twin_backward(n, x.data(), dy.data(), dx.data(), kHost);
  const Guarded<T> device_x(session, x, offset);
  Guarded<T> both(session, dy, offset), out(session, n);  // dx in place of dy
  forward(n, device_x.data(), out.data(), session.queue);
  CHECK(relative_difference(out.values(), y) <= bound);
  backward(n, device_x.data(), both.data(), both.data(), session.queue);
  CHECK(relative_difference(both.values(), dx) <= bound);
}

TEST_CASE("GELU and SiLU, forward and backward") {
  on_every_device([](DeviceSession& session, const TestKernels&) {
    for_each_type([&]<class T>() {
      const OpsOf<T>& ops = session.ops<T>();
      for (const int64_t n : kSizes)
        for (const int64_t offset : {0, 1}) {  // 1: not aligned
          check_activation<T>(session, ref::gelu_forward, ref::gelu_backward, ops.gelu_forward,
                              ops.gelu_backward, n, offset);
          check_activation<T>(session, ref::silu_forward, ref::silu_backward, ops.silu_forward,
                              ops.silu_backward, n, offset);
        }
    });
  });
}

TEST_CASE("GELU, more elements than the grid has threads") {
  DeviceSession session(make_simt_device({}), 2);
  check_activation<float>(session, ref::gelu_forward, ref::gelu_backward, session.ops<float>().gelu_forward,
                          session.ops<float>().gelu_backward, 1024 * 256 + 77, 1);
}

TEST_CASE("gated GELU, in place of either input") {
  on_every_device([](DeviceSession& session, const TestKernels&) {
    for_each_type([&]<class T>() {
      for (const int64_t n : kSizes) {
        CAPTURE(n);
        const auto gate = wide<T>(n, 1), value = wide<T>(n, 2);
        std::vector<float> y(gate.size());
        ref::gelu_gated_forward(n, gate.data(), value.data(), y.data(), kHost);
        for (const int place : {0, 1, 2}) {
          Guarded<T> device_gate(session, gate), device_value(session, value), out(session, n);
          auto& to = place == 0 ? out : place == 1 ? device_gate : device_value;
          session.ops<T>().gelu_gated_forward(n, device_gate.data(), device_value.data(), to.data(),
                                              session.queue);
          CHECK(relative_difference(to.values(), y) <= 1.01 * kRounding<T> + 3e-6);
        }
      }
    });
  });
}

TEST_CASE("casts are exact: ties to even, NaN, infinity") {
  on_every_device([](DeviceSession& session, const TestKernels&) {
    for_each_type([&]<class T>() {
      for (const int64_t n : kSizes) {
        CAPTURE(n);
        auto x = normal(n, 1);
        const float special[] = {1 + 0x1p-8f, 1 + 3 * 0x1p-8f, -0.0f, INFINITY, 3e38f, 1e-40f};
        std::copy_n(special, std::min<size_t>(x.size(), 6), x.begin());
        const auto device_x = session.upload(x);
        Guarded<T> narrow(session, n);
        session.ops<T>().narrow(n, device_x.data(), narrow.data(), session.queue);
        CHECK(narrow.values() == rounded<T>(x));
        Guarded<float> wide(session, n);
        session.ops<T>().widen(n, narrow.data(), wide.data(), session.queue);
        CHECK(wide.values() == rounded<T>(x));
        const auto nan = session.upload(std::vector<float>(x.size(), NAN));
        session.ops<T>().narrow(n, nan.data(), narrow.data(), session.queue);
        session.ops<T>().widen(n, narrow.data(), wide.data(), session.queue);
        for (const float v : wide.values()) CHECK(std::isnan(v));
      }
    });
  });
}

TEST_CASE("guidance") {
  on_every_device([](DeviceSession& session, const TestKernels&) {
    for (const int64_t n : kSizes) {
      const auto cond = normal(n, 1), uncond = normal(n, 2);
      std::vector<float> out(cond.size());
      ref::guidance(n, 3.5f, cond.data(), uncond.data(), out.data(), kHost);
      Guarded<float> device_cond(session, cond);
      const auto device_uncond = session.upload(uncond);
      session.ops<float>().guidance(n, 3.5f, device_cond.data(), device_uncond.data(), device_cond.data(),
                                    session.queue);
      CHECK(relative_difference(device_cond.values(), out) <= 1e-6);
    }
  });
}

TEST_CASE("patches there and back") {
  on_every_device([](DeviceSession& session, const TestKernels&) {
    for_each_type([&]<class T>() {
      for (const PatchShape& shape :
           {PatchShape{1, 1, 2, 2, 2, 2}, PatchShape{2, 3, 6, 10, 2, 2}, PatchShape{3, 16, 12, 12, 2, 2},
            PatchShape{1, 5, 9, 14, 3, 7}, PatchShape{2, 1, 77, 129, 7, 3}, PatchShape{257, 1, 2, 2, 2, 2},
            PatchShape{1, 64, 5, 5, 1, 1}}) {
        const int64_t n = shape.batch * shape.tokens() * shape.row();
        CAPTURE(n);
        const auto latents = normal(n, 1);
        const auto rows = rounded<T>(normal(n, 2));
        std::vector<float> expected(latents.size());
        const auto device_latents = session.upload(latents);
        const auto device_rows = upload_as<T>(session, rows);
        Guarded<T> out(session, n);
        ref::patchify(shape, latents.data(), expected.data(), kHost);
        session.ops<T>().patchify(shape, device_latents.data(), out.data(), session.queue);
        CHECK(out.values() == rounded<T>(expected));
        ref::unpatchify_backward(shape, latents.data(), expected.data(), kHost);
        session.ops<T>().unpatchify_backward(shape, device_latents.data(), out.data(), session.queue);
        CHECK(out.values() == rounded<T>(expected));
        Guarded<float> back(session, n);
        ref::unpatchify(shape, rows.data(), expected.data(), kHost);
        session.ops<T>().unpatchify(shape, device_rows.data(), back.data(), session.queue);
        CHECK(back.values() == expected);
      }
    });
  });
}

TEST_CASE("timestep embedding") {
  on_every_device([](DeviceSession& session, const TestKernels&) {
    for_each_type([&]<class T>() {
      for (const auto& [B, dim] : {std::pair<int64_t, int64_t>{5, 2},
                                   {5, 16},
                                   {5, 34},
                                   {5, 256},
                                   {5, 514},
                                   {1, 2},
                                   {7, 64},
                                   {64, 10},
                                   {77, 2},
                                   {129, 14},
                                   {257, 6}}) {
        CAPTURE(B);
        CAPTURE(dim);
        std::vector<float> timesteps = {0, 1, 999, 123.456f, 0.5f};
        while (std::ssize(timesteps) < B) timesteps.push_back(1000 - 2.25f * timesteps.size());
        timesteps.resize(static_cast<size_t>(B));
        std::vector<float> expected(static_cast<size_t>(B * dim));
        ref::timestep_embedding(B, dim, timesteps.data(), expected.data(), kHost);
        const auto device_timesteps = session.upload(timesteps);
        Guarded<T> out(session, B * dim);
        session.ops<T>().timestep_embedding(B, dim, device_timesteps.data(), out.data(), session.queue);
        // Angles of up to 1000 in float32: their own rounding is 3e-5.
        CHECK(relative_difference(out.values(), expected) <= 1e-4 + kRounding<T>);
      }
    });
  });
}

}  // namespace
}  // namespace wandistill::simt_test
