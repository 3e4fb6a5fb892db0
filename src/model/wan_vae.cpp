// The decoder's forward pass, channels last throughout. Three buffers suffice: x is the residual stream, the
// other two hold what a layer makes of it.
#include "wandistill/wan_vae.h"

#include <algorithm>
#include <cmath>

#include "src/model/wan_vae_weights.h"
#include "wandistill/ops/attention.h"
#include "wandistill/ops/rms_norm_silu.h"

namespace wandistill {
namespace {

struct Pass {
  const Queue& queue;
  int64_t h, w;  // of x
  Buffer<float> x, a, b;

  int64_t pixels() const { return h * w; }

  void convolve(const VaeConv& conv, const float* from, const float* residual, float* to) const {
    cpu::conv2d_forward(conv.shape(h, w), from, conv.weight.data(), conv.bias.data(), residual, to, queue);
  }
  void norm(const Buffer<float>& gamma, const float* from, bool silu, float* to) const {
    cpu::rms_norm_silu_forward(pixels(), gamma.size(), from, gamma.data(), silu, to, queue);
  }

  void convolve(const VaeConv& conv) {
    convolve(conv, x.data(), nullptr, a.data());
    std::swap(x, a);
    if (conv.upsample) h *= 2, w *= 2;
  }

  void residual_block(const VaeResidualBlock& block) {
    norm(block.norm1, x.data(), true, a.data());
    convolve(block.conv1, a.data(), nullptr, b.data());
    norm(block.norm2, b.data(), true, b.data());
    if (block.shortcut) {
      convolve(*block.shortcut, x.data(), nullptr, a.data());
      std::swap(x, a);
    }
    convolve(block.conv2, b.data(), x.data(), x.data());
  }

  /// One head over all pixels.
  void attention(const WanVaeWeights& weights) {
    const int64_t channels = weights.attention_norm.size(), n = pixels() * channels;
    float *q = b.data(), *k = q + n, *v = k + n;
    norm(weights.attention_norm, x.data(), false, a.data());
    convolve(weights.q, a.data(), nullptr, q);
    convolve(weights.k, a.data(), nullptr, k);
    convolve(weights.v, a.data(), nullptr, v);
    const int64_t key_offsets[] = {0, pixels()};
    const AttentionShape shape{
        1, pixels(), 1, channels, key_offsets, nullptr, 1.0f / std::sqrt(static_cast<float>(channels))};
    cpu::attention_forward(shape, q, k, v, a.data(), nullptr, queue);
    convolve(weights.attention_out, a.data(), x.data(), x.data());
  }
};

/// from [rows, cols] to [cols, rows].
void transpose(int64_t rows, int64_t cols, const float* from, float* to) {
  for (int64_t c = 0; c < cols; ++c) {
    for (int64_t r = 0; r < rows; ++r) to[c * rows + r] = from[r * cols + c];
  }
}

}  // namespace

WanVaeDecoder::WanVaeDecoder(const std::filesystem::path& folder)
    : config_(WanVaeConfig::load(folder)), weights_(std::make_unique<WanVaeWeights>(folder, config_)) {}
WanVaeDecoder::~WanVaeDecoder() = default;
WanVaeDecoder::WanVaeDecoder(WanVaeDecoder&&) noexcept = default;

int64_t WanVaeDecoder::largest_activation(int64_t h, int64_t w) const {
  int64_t pixels = h * w;
  int64_t most = std::max(config_.z_dim, 3 * weights_->q.c_out) * pixels;  // q, k and v stand side by side
  for (const VaeUpBlock& block : weights_->up_blocks) {
    for (const VaeResidualBlock& resnet : block.resnets)
      most = std::max(most, pixels * std::max(resnet.conv1.c_in, resnet.conv1.c_out));
    if (block.upsampler) {
      pixels *= 4;
      most = std::max(most, pixels * block.upsampler->c_out);
    }
  }
  return std::max(most, pixels * weights_->conv_out.c_out);
}

int64_t WanVaeDecoder::decode_peak_bytes(int64_t h, int64_t w, int threads) const {
  const int64_t activations = 3 * largest_activation(h, w) * static_cast<int64_t>(sizeof(float));
  int64_t scratch = 0;
  const auto count = [&](const VaeConv& conv) {
    scratch = std::max(scratch, cpu::conv2d_scratch_bytes(conv.shape(h, w), threads));
  };
  count(weights_->conv_in);
  count(weights_->before_attention.conv1);
  for (const VaeUpBlock& block : weights_->up_blocks) {
    for (const VaeResidualBlock& resnet : block.resnets) count(resnet.conv1), count(resnet.conv2);
    if (block.upsampler) {
      count(*block.upsampler);
      h *= 2, w *= 2;
    }
  }
  count(weights_->conv_out);
  return activations + scratch;
}

void WanVaeDecoder::decode(const float* latents, int64_t h, int64_t w, float* image,
                           const Queue& queue) const {
  const int64_t most = largest_activation(h, w);
  Pass pass{queue, h, w, Buffer<float>(most), Buffer<float>(most), Buffer<float>(most)};
  transpose(config_.z_dim, h * w, latents, pass.x.data());
  pass.convolve(weights_->post_quant_conv);
  pass.convolve(weights_->conv_in);
  pass.residual_block(weights_->before_attention);
  pass.attention(*weights_);
  pass.residual_block(weights_->after_attention);
  for (const VaeUpBlock& block : weights_->up_blocks) {
    for (const VaeResidualBlock& resnet : block.resnets) pass.residual_block(resnet);
    if (block.upsampler) pass.convolve(*block.upsampler);
  }
  pass.norm(weights_->norm_out, pass.x.data(), true, pass.x.data());
  pass.convolve(weights_->conv_out);
  transpose(pass.pixels(), weights_->conv_out.c_out, pass.x.data(), image);
  for (int64_t i = 0; i < weights_->conv_out.c_out * pass.pixels(); ++i)
    image[i] = std::clamp(image[i], -1.0f, 1.0f);
}

}  // namespace wandistill
