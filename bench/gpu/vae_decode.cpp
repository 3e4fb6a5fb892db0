// Whole pictures by a VAE decoder of the real teacher's sizes with weights by formula.
#include <unistd.h>

#include <filesystem>

#include "bench/gpu/convolution.h"
#include "bench/gpu/device_bench.h"
#include "wandistill/error.h"
#include "wandistill/flops.h"
#include "wandistill/safetensors.h"
#include "wandistill/wan_vae.h"

namespace wandistill::bench {
namespace {

namespace fs = std::filesystem;

/// The component's folder, gone with this.
class VaeFolder {
 public:
  explicit VaeFolder(const WanVaeConfig& config);
  ~VaeFolder() { fs::remove_all(folder_); }
  VaeFolder(const VaeFolder&) = delete;
  VaeFolder& operator=(const VaeFolder&) = delete;

  const fs::path& path() const { return folder_; }
  /// As diffusers' AutoencoderKLWan takes it.
  const Json& config() const { return json_; }
  /// Numbers that a single frame's decode reads: of a 3-D convolution the last temporal tap alone.
  int64_t weights() const { return weights_; }

 private:
  void add(const std::string& name, const Shape& shape) {
    values_.emplace_back(element_count(shape));
    fill_parameter(name, shape, values_.back().data());
    weights_ += element_count(shape) / (shape.size() == 5 ? shape[2] : 1);
    tensors_.push_back({name, shape, values_.back().data()});
  }
  void add_conv(const std::string& name, const Shape& weight) {
    add(name + ".weight", weight);
    add(name + ".bias", {weight[0]});
  }
  void add_residual_block(const std::string& name, int64_t c_in, int64_t c_out) {
    add(name + ".norm1.gamma", {c_in, 1, 1, 1});
    add_conv(name + ".conv1", {c_out, c_in, 3, 3, 3});
    add(name + ".norm2.gamma", {c_out, 1, 1, 1});
    add_conv(name + ".conv2", {c_out, c_out, 3, 3, 3});
    if (c_in != c_out) add_conv(name + ".conv_shortcut", {c_out, c_in, 1, 1, 1});
  }

  fs::path folder_ = fs::temp_directory_path() / cat("wandistill_gpu_bench_", ::getpid());
  Json json_;
  int64_t weights_ = 0;
  std::vector<Buffer<float>> values_;
  std::vector<NamedTensor> tensors_;
};

VaeFolder::VaeFolder(const WanVaeConfig& c)
    : json_({{"base_dim", c.base_dim},
             {"dim_mult", c.dim_mult},
             {"num_res_blocks", c.num_res_blocks},
             {"z_dim", c.z_dim},
             {"attn_scales", Json::array()},
             {"temperal_downsample", {false, true, true}},
             {"latents_mean", c.latents_mean},
             {"latents_std", c.latents_std}}) {
  const int64_t levels = int64_t(c.dim_mult.size()), middle = c.base_dim * c.dim_mult.back();
  add_conv("post_quant_conv", {c.z_dim, c.z_dim, 1, 1, 1});
  add_conv("decoder.conv_in", {middle, c.z_dim, 3, 3, 3});
  for (const char* block : {"0", "1"})
    add_residual_block(cat("decoder.mid_block.resnets.", block), middle, middle);
  add("decoder.mid_block.attentions.0.norm.gamma", {middle, 1, 1});
  add_conv("decoder.mid_block.attentions.0.to_qkv", {3 * middle, middle, 1, 1});
  add_conv("decoder.mid_block.attentions.0.proj", {middle, middle, 1, 1});
  int64_t channels = middle;
  for (int64_t i = 0; i < levels; ++i) {
    const std::string block = cat("decoder.up_blocks.", i, ".");
    const int64_t out = c.base_dim * c.dim_mult[size_t(levels - 1 - i)];
    for (int64_t r = 0; r <= c.num_res_blocks; ++r, channels = out)
      add_residual_block(cat(block, "resnets.", r), channels, out);
    if (i + 1 == levels) break;
    add_conv(block + "upsamplers.0.resample.1", {channels / 2, channels, 3, 3});
    channels /= 2;
  }
  add("decoder.norm_out.gamma", {channels, 1, 1, 1});
  add_conv("decoder.conv_out", {3, channels, 3, 3, 3});
  fs::create_directories(folder_);
  write_json(folder_ / "config.json", json_);
  write_safetensors(folder_ / "diffusion_pytorch_model.safetensors", tensors_);
  values_.clear();
}

void decode(DeviceBench& bench, const WanVaeDecoder& vae, const VaeFolder& folder, int64_t size,
            const std::optional<Compute>& cudnn) {
  const int64_t z = vae.config().z_dim, h = size / vae.config().scale(), pixels = size * size;
  Buffer<float> latents(z * h * h);
  for (int64_t i = 0; i < latents.size(); ++i) latents[i] = float(2 * formula_number(1, i));
  OpBuffer<float> image = bench.output<float>(3 * pixels);
  const double flop = vae_decode_flops(vae.config(), h, h, 0);
  const int64_t bytes = kHalf * folder.weights() + kFloat * (latents.size() + image.size());
  const auto row = [&](const std::string& name, const Compute& compute, Json details) {
    const Work work = [&] { vae.decode(latents.data(), h, h, image.data(), compute); };
    work();
    const std::vector<float> sample = bench.sample(image.data(), 3 * pixels);
    details["sample"] = {{"image", sample}};
    bench.report.add({.name = name,
                      .shape = cat(size, " x ", size),
                      .time = bench.time(work),
                      .work = 1e-6 * double(pixels),
                      .unit = "Mpix/s",
                      .flop = flop,
                      .bytes = bytes,
                      .ceiling = 1e-6 * double(pixels) * bench.matmul_rate() / (1e-12 * flop),
                      .details = details});
    return sample;
  };
  const Json parameters = {{"op", "vae_decode"}, {"size", size}, {"config", folder.config()}};
  const std::vector<float> ours = row("VAE decode", bench.compute, {{"case", parameters}});
  if (!cudnn) return;
  const double difference = sample_difference(row("VAE decode, cuDNN", *cudnn, Json::object()), ours);
  constexpr double kClose = 0.1;  // forty convolutions in bf16, clamped pixels
  if (!(difference < kClose))
    fail("VAE decode of ", size, " pixels: by cuDNN it differs from ours by ", difference);
}

}  // namespace

void bench_vae_decode(DeviceBench& bench) {
  constexpr int64_t kChannels = 16;
  const WanVaeConfig config = {.base_dim = bench.tiny ? 8 : 96,
                               .dim_mult = {1, 2, 4, 4},
                               .num_res_blocks = bench.tiny ? 1 : 2,
                               .z_dim = kChannels,
                               .latents_mean = std::vector<float>(kChannels, 0.0f),
                               .latents_std = std::vector<float>(kChannels, 1.0f)};
  const VaeFolder folder(config);
  const WanVaeDecoder vae(folder.path(), VaeDtype::kBfloat16, bench.compute);
  const std::optional<Compute> cudnn = with_cudnn(bench.compute);
  for (const int64_t size : bench.tiny ? std::vector<int64_t>{16} : std::vector<int64_t>{128, 512, 1024})
    decode(bench, vae, folder, size, cudnn);
}

}  // namespace wandistill::bench
