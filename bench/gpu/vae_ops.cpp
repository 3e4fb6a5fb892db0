// The VAE decoder's ops at the levels of a 1024 x 1024 picture, the convolution ours and cuDNN's.
#include "bench/gpu/convolution.h"
#include "bench/gpu/device_bench.h"
#include "wandistill/device_ops.h"
#include "wandistill/error.h"

namespace wandistill::bench {
namespace {

constexpr double kClose = 0.03;  // between two convolutions in bf16, of the outputs' root mean square

struct ConvCase {
  Conv2dShape shape;
  bool norm, residual;
};

void conv2d(DeviceBench& bench, const ConvCase& c, const std::optional<Compute>& cudnn) {
  const Conv2dShape& s = c.shape;
  const int64_t inputs = s.height * s.width * s.c_in, taps = s.kernel * s.kernel;
  const int64_t outputs = s.out_height() * s.out_width() * s.c_out;
  const OpBuffer<bf16> x = bench.input<bf16>(inputs, 1), gamma = bench.input<bf16>(s.c_in, 2),
                       weight = bench.input<bf16>(taps * s.c_in * s.c_out, 3),
                       bias = bench.input<bf16>(s.c_out, 4), residual = bench.input<bf16>(outputs, 5);
  OpBuffer<bf16> y = bench.output<bf16>(outputs);
  const Json parameters = {{"op", "conv2d"},         {"height", s.height}, {"width", s.width},
                           {"c_in", s.c_in},         {"c_out", s.c_out},   {"kernel", s.kernel},
                           {"upsample", s.upsample}, {"norm", c.norm},     {"residual", c.residual}};
  const std::string text =
      cat(s.height, " x ", s.width, ", ", s.c_in, " -> ", s.c_out, s.upsample ? ", doubled" : "",
          c.norm ? ", norm" : "", c.residual ? ", +" : "");
  const int64_t bytes = kHalf * (inputs + (c.norm ? gamma.size() : 0) + weight.size() + bias.size() +
                                 (c.residual ? 2 : 1) * outputs);
  const auto row = [&](const std::string& name, const Compute& compute, Json details) {
    const Work work = [&] {
      compute.bf16_ops->conv2d_forward(s, x.data(), c.norm ? gamma.data() : nullptr, weight.data(),
                                       bias.data(), c.residual ? residual.data() : nullptr, y.data(),
                                       compute);
    };
    work();
    const std::vector<float> sample = bench.sample(y.data(), outputs);
    details["sample"] = {{"y", sample}};
    bench.compute_row(name, text, 2 * double(outputs) * double(taps * s.c_in), bytes, work, details);
    return sample;
  };
  const std::string name = cat("conv2d ", s.kernel, " x ", s.kernel);
  const std::vector<float> ours = row(name, bench.compute, {{"case", parameters}});
  if (!cudnn) return;
  const double difference = sample_difference(row(name + ", cuDNN", *cudnn, Json::object()), ours);
  if (!(difference < kClose)) fail(name, " ", text, ": cuDNN's differs from ours by ", difference);
}

void pixels(DeviceBench& bench, int64_t count, int64_t channels) {
  const Compute& compute = bench.compute;
  const OpsOf<bf16>& ops = *compute.bf16_ops;
  const OpBuffer<bf16> x = bench.input<bf16>(count * channels, 1), gamma = bench.input<bf16>(channels, 2);
  OpBuffer<bf16> y = bench.output<bf16>(count * channels);
  OpBuffer<float> image = bench.output<float>(3 * count);
  OpBuffer<uint8_t> rgb = bench.output<uint8_t>(3 * count);
  OpBuffer<int32_t> flag = bench.output<int32_t>(1);
  bench.memory_row("pixel norm and SiLU", cat(count, " x ", channels), 2 * kHalf * count * channels, [&] {
    ops.rms_norm_silu_forward(count, channels, x.data(), gamma.data(), true, y.data(), compute);
  });
  bench.memory_row("picture's planes", cat(count, " x 3"), (kHalf + kFloat) * 3 * count,
                   [&] { ops.vae_image(count, count, x.data(), image.data(), flag.data(), compute); });
  bench.memory_row("picture's bytes", cat(count, " x 3"), (kFloat + 1) * 3 * count,
                   [&] { ops.rgb8(count, image.data(), rgb.data(), compute); });
}

}  // namespace

std::optional<Compute> with_cudnn(const Compute& compute) {
  if (compute.ops == &simt_ops<float>()) return std::nullopt;
  try {
    return Compute(compute.threads, *compute.device, *compute.stream, cudnn_ops<float>(), cudnn_ops<bf16>());
  } catch (const Error& error) {
    std::printf("%s\n", error.what());
    return std::nullopt;
  }
}

void bench_vae_ops(DeviceBench& bench) {
  if (bench.tiny) {
    conv2d(bench, {{8, 8, 16, 16, 3, true}, true, true}, with_cudnn(bench.compute));
    return pixels(bench, 50, 16);
  }
  const std::optional<Compute> cudnn = with_cudnn(bench.compute);
  for (const ConvCase& c : {ConvCase{{128, 128, 16, 384}, false, false},
                            {{128, 128, 384, 384, 1}, false, true},
                            {{128, 128, 384, 384}, true, true},
                            {{128, 128, 384, 192, 3, true}, false, false},
                            {{256, 256, 192, 384}, true, false},
                            {{256, 256, 384, 384}, true, true},
                            {{256, 256, 384, 192, 3, true}, false, false},
                            {{512, 512, 192, 192}, true, true},
                            {{512, 512, 192, 96, 3, true}, false, false},
                            {{1024, 1024, 96, 96}, true, true},
                            {{1024, 1024, 96, 96}, false, false},
                            {{1024, 1024, 96, 3}, true, false}})
    conv2d(bench, c, cudnn);
  pixels(bench, 1024 * 1024, 96);
}

}  // namespace wandistill::bench
