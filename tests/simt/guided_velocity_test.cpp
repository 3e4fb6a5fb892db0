// The guided network on a device, where calls become graphs.
#include "tests/simt/typed.h"
#include "wandistill/device_ops.h"
#include "wandistill/guided_sampler.h"

namespace wandistill::simt_test {
namespace {

constexpr int64_t kSide = 4;

WanConfig small_config() {
  WanConfig c;
  c.in_channels = c.out_channels = 4;
  c.heads = 2;
  c.head_dim = 16;
  c.ffn_dim = 64;
  c.layers = 2;
  c.text_dim = 32;
  c.freq_dim = 32;
  return c;
}

TEST_CASE("guided velocity: a call, with what follows it, has the same bits as the first of its expert") {
  on_every_device([](DeviceSession& session, const TestKernels&) {
    for_each_type([&]<class T>() {
      const Compute compute(1, *session.device, *session.stream,
                            session.simt ? simt_ops<float>() : cuda_ops<float>(),
                            session.simt ? simt_ops<bf16>() : cuda_ops<bf16>());
      const WanTransformer transformer =
          compute.transformer(small_config(), std::is_same_v<T, float> ? Dtype::kFloat32 : Dtype::kBfloat16);
      std::vector<float> scaled = normal(transformer.layout().total(), 1);
      for (float& value : scaled) value *= 0.2f;
      const auto high = upload_as<T>(session, scaled);
      std::reverse(scaled.begin(), scaled.end());
      const auto low = upload_as<T>(session, scaled);
      const auto text = [](int64_t tokens, uint32_t seed) {
        return TextEmbedding{.tokens = tokens, .rows = normal(tokens * 32, seed)};
      };
      const TextEmbedding a = text(3, 2), b = text(3, 3), longer = text(9, 5), negative = text(3, 4);
      const GuidedModel model{.transformer = &transformer,
                              .high_noise = high.data(),
                              .low_noise = low.data(),
                              .boundary_ratio = 0.5,
                              .guidance = 3,
                              .guidance_2 = 2,
                              .negative = &negative};
      int64_t n = 0;
      const auto found = [&](GuidedVelocity& velocity, float timestep, const float* x,
                             const GuidedVelocity::Then& then) {
        const GuidedOutput output = velocity(timestep, x, then);
        std::vector<float> values(static_cast<size_t>(2 * n));
        session.stream->download(values.data(), output.cond, n * 4);
        session.stream->download(values.data() + n, output.uncond, n * 4);
        return values;
      };
      GuidedVelocity velocity(model);
      DeviceBuffer<float> x(*session.stream, 2 * 4 * kSide * kSide);
      DeviceBuffer<float> cond(*session.stream, x.size());
      int enqueued = 0;
      const auto keep_cond = [&](const GuidedOutput& output) {
        ++enqueued;
        copy(*session.stream, cond.data(), output.cond, n);
      };
      uint32_t seed = 5;
      // Started anew, with as many pictures as before or fewer, the graphs are others though x lies where it
      // did.
      for (const std::vector<const TextEmbedding*>& texts :
           {std::vector{&a, &b}, std::vector{&b, &longer}, std::vector{&a}}) {
        n = static_cast<int64_t>(texts.size()) * 4 * kSide * kSide;
        velocity.start(texts, kSide, kSide, compute);
        enqueued = 0;
        for (const float timestep : {900.0f, 800.0f, 700.0f, 400.0f, 300.0f, 200.0f, 600.0f}) {
          CAPTURE(timestep);
          const std::vector<float> latents = normal(n, seed += 10);
          session.stream->upload(x.data(), latents.data(), n * 4);
          GuidedVelocity alone(model);
          alone.start(texts, kSide, kSide, compute);
          const std::vector<float> expected = found(alone, timestep, x.data(), {});
          CHECK(found(velocity, timestep, x.data(), keep_cond) == expected);
          CHECK(std::isfinite(expected.front()));
          std::vector<float> kept(static_cast<size_t>(n));
          session.stream->download(kept.data(), cond.data(), n * 4);
          CHECK(std::equal(kept.begin(), kept.end(), expected.begin()));
        }
        CHECK(enqueued == 2 * 2);  // by each expert: alone, and into its graph
      }
    });
  });
}

}  // namespace
}  // namespace wandistill::simt_test
