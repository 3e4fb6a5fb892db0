#include "src/model/wan_vae_pass.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "src/model/wan_vae_dtype.h"
#include "wandistill/ops/attention.h"
#include "wandistill/ops/rms_norm_silu.h"

namespace wandistill {

VaePass::VaePass(const VaeMemory& memory, VaeDtype dtype, const Queue& queue,
                 const std::function<bool()>& stop)
    : queue_(queue),
      stop_(stop),
      dtype_(dtype),
      stream_(memory.stream),
      other_(memory.stream),
      inner_(memory.inner) {}

void VaePass::convolve(const VaeConv& conv, const float* from, const float* residual, float* to) const {
  const Conv2dShape shape = conv.shape(rows_.size(), width_);
  cpu::conv2d_forward(shape, from, conv.weight.data(), conv.bias.data(), residual, to, queue_);
  round_to(dtype_, shape.out_height() * shape.out_width() * shape.c_out, to, queue_);
}

void VaePass::norm(const Buffer<float>& gamma, const float* from, bool silu, float* to) const {
  cpu::rms_norm_silu_forward(pixels(), gamma.size(), from, gamma.data(), silu, to, queue_);
  round_to(dtype_, pixels() * gamma.size(), to, queue_);
}

/// The stream goes on with what a layer left in the other buffer.
void VaePass::wrote_other() {
  std::swap(stream_, other_);
  in_ = stream_.data();
}

void VaePass::convolve(const VaeConv& conv) {
  convolve(conv, in_, nullptr, other_.data());
  wrote_other();
  if (conv.upsample) rows_ = {2 * rows_.begin, 2 * rows_.end}, width_ *= 2;
}

void VaePass::residual_block(const VaeResidualBlock& block) {
  norm(block.norm1, in_, true, other_.data());
  convolve(block.conv1, other_.data(), nullptr, inner_.data());
  norm(block.norm2, inner_.data(), true, inner_.data());
  if (block.shortcut) convolve(*block.shortcut, in_, nullptr, other_.data());
  convolve(block.conv2, inner_.data(), block.shortcut ? other_.data() : in_, other_.data());
  wrote_other();
}

/// One head over all pixels.
void VaePass::attention(const WanVaeWeights& weights) {
  const int64_t channels = weights.attention_norm.size(), n = pixels() * channels;
  float *q = inner_.data(), *k = q + n, *v = k + n;
  norm(weights.attention_norm, in_, false, other_.data());
  convolve(weights.q, other_.data(), nullptr, q);
  convolve(weights.k, other_.data(), nullptr, k);
  convolve(weights.v, other_.data(), nullptr, v);
  const int64_t key_offsets[] = {0, pixels()};
  const AttentionShape shape{1,        pixels(),    1,       channels,
                             pixels(), key_offsets, nullptr, 1.0f / std::sqrt(static_cast<float>(channels))};
  cpu::attention_forward(shape, q, k, v, other_.data(), nullptr, queue_);
  round_to(dtype_, n, other_.data(), queue_);
  convolve(weights.attention_out, other_.data(), in_, stream_.data());
}

bool VaePass::run_trunk(const WanVaeWeights& weights, const float* latents, int64_t h, int64_t w) {
  if (stopped()) return false;
  const int64_t z = weights.post_quant_conv.c_in;
  rows_ = {0, h};
  width_ = w;
  for (int64_t c = 0; c < z; ++c) {
    for (int64_t p = 0; p < pixels(); ++p) stream_[p * z + c] = latents[c * pixels() + p];
  }
  round_to(dtype_, z * pixels(), stream_.data(), queue_);
  in_ = stream_.data();
  convolve(weights.post_quant_conv);
  convolve(weights.conv_in);
  if (stopped()) return false;
  residual_block(weights.before_attention);
  if (stopped()) return false;
  attention(weights);
  if (stopped()) return false;
  residual_block(weights.after_attention);
  return true;
}

void VaePass::start_from(const VaePass& from) {
  rows_ = from.rows_;
  width_ = from.width_;
  in_ = from.in_;
}

bool VaePass::run(const VaeStage& stage, const WanVaeWeights& weights) {
  if (stopped()) return false;
  const int64_t channels = stage.block ? stage.block->conv1.c_in : stage.conv->c_in;
  in_ += (stage.rows.begin - rows_.begin) * width_ * channels;
  rows_ = stage.rows;
  if (stage.block) {
    residual_block(*stage.block);
  } else if (stage.conv->upsample) {
    convolve(*stage.conv);
  } else {
    norm(weights.norm_out, in_, true, other_.data());
    convolve(*stage.conv, other_.data(), nullptr, inner_.data());
    in_ = inner_.data();
  }
  return true;
}

void VaePass::keep_stream_only() {
  other_ = Buffer<float>();
  inner_ = Buffer<float>();
}

bool VaePass::store(VaeRows rows, float* image, int64_t plane) const {
  const float* from = in_ + (rows.begin - rows_.begin) * width_ * 3;
  bool finite = true;
  for (int64_t c = 0; c < 3; ++c) {
    for (int64_t p = 0; p < rows.size() * width_; ++p) {
      const float value = from[p * 3 + c];
      finite &= std::isfinite(value);
      image[c * plane + p] = std::clamp(value, -1.0f, 1.0f);
    }
  }
  return finite;
}

}  // namespace wandistill
