// A teacher's experts in every place that they can have on a device: the same bits.
#include "src/teacher/experts.h"

#include "tests/simt/typed.h"
#include "tests/unit/temporary_folder.h"
#include "wandistill/device_ops.h"
#include "wandistill/guided_sampler.h"
#include "wandistill/safetensors.h"

namespace wandistill::simt_test {
namespace {

constexpr int64_t kSide = 4;

WanConfig small_config(int64_t layers) {
  WanConfig c;
  c.in_channels = c.out_channels = 4;
  c.heads = 2;
  c.head_dim = 16;
  c.ffn_dim = 64;
  c.layers = layers;
  c.text_dim = 32;
  c.freq_dim = 32;
  return c;
}

std::filesystem::path write_expert(const std::filesystem::path& folder, const ParameterLayout& layout,
                                   uint32_t seed) {
  std::filesystem::create_directories(folder);
  std::vector<float> values = normal(layout.total(), seed);
  for (float& value : values) value *= 0.2f;
  std::vector<NamedTensor> tensors;
  for (const ParameterInfo& p : layout.parameters())
    tensors.push_back({p.name, p.shape, values.data() + p.offset});
  write_safetensors(folder / "diffusion_pytorch_model.safetensors", tensors);
  return folder;
}

TEST_CASE("experts: swapped and streamed ones have the bits of resident ones") {
  const testing::TemporaryFolder folder;
  for (const int64_t layers : {1, 2, 3, 4}) {
    CAPTURE(layers);
    const ParameterLayout layout(small_config(layers));
    const std::vector<std::filesystem::path> folders{write_expert(folder / cat("high_", layers), layout, 1),
                                                     write_expert(folder / cat("low_", layers), layout, 2)};
    on_every_device([&](DeviceSession& session, const TestKernels&) {
      for_each_type([&]<class T>() {
        const Compute compute(1, *session.device, *session.stream,
                              session.simt ? simt_ops<float>() : cuda_ops<float>(),
                              session.simt ? simt_ops<bf16>() : cuda_ops<bf16>());
        const WanTransformer transformer = compute.transformer(small_config(layers), kDtypeOf<T>);
        const TextEmbedding text{.tokens = 3, .rows = normal(3 * 32, 3)};
        const TextEmbedding* texts[] = {&text};
        const int64_t n = 4 * kSide * kSide;
        const auto drawn = [&](TeacherPlacement placement) {
          const auto experts = load_experts(nullptr, folders, layout, compute, kDtypeOf<T>, placement);
          GuidedVelocity velocity({.transformer = &transformer,
                                   .high_noise = experts->weights(0),
                                   .low_noise = experts->weights(1),
                                   .boundary_ratio = 0.5});
          DeviceBuffer<float> x(*session.stream, n);
          std::vector<float> all;
          velocity.start(texts, kSide, kSide, compute);
          // Both experts twice and more in a row, and by turns.
          uint32_t seed = 4;
          for (const float timestep : {900.0f, 800.0f, 400.0f, 700.0f, 300.0f, 200.0f, 100.0f}) {
            const std::vector<float> latents = normal(n, ++seed);
            session.stream->upload(x.data(), latents.data(), n * 4);
            const GuidedOutput output = velocity(timestep, x.data());
            all.resize(all.size() + size_t(n));
            session.stream->download(all.data() + int64_t(all.size()) - n, output.cond, n * 4);
          }
          return all;
        };
        const std::vector<float> expected = drawn(TeacherPlacement::kResident);
        CHECK(std::isfinite(expected.front()));
        CHECK(drawn(TeacherPlacement::kExpert) == expected);
        CHECK(drawn(TeacherPlacement::kStream) == expected);
      });
    });
  }
}

}  // namespace
}  // namespace wandistill::simt_test
