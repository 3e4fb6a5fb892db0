#include "src/model/wan_vae_pass.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "src/model/wan_vae_dtype.h"

namespace wandistill {

template <class T>
VaePass<T>::VaePass(const VaeMemory& memory, VaeDtype dtype, const Compute& compute,
                    const std::function<bool()>& stop)
    : compute_(compute),
      ops_(compute.table<T>()),
      stop_(stop),
      dtype_(dtype),
      stream_(compute, memory.stream),
      other_(compute, memory.stream),
      inner_(compute, memory.inner) {}

template <class T>
void VaePass<T>::round(int64_t n, T* x) const {
  if constexpr (std::is_same_v<T, float>)
    if (compute_.on_host()) round_to(dtype_, n, x, compute_);
}

template <class T>
void VaePass<T>::convolve(const VaeConv& conv, const OpTensor* gamma, const T* from, const T* residual,
                          T* to) const {
  const Conv2dShape shape = conv.shape(rows_.size(), width_);
  ops_.conv2d_forward(shape, from, gamma ? gamma->as<T>() : nullptr, conv.weight.as<T>(), conv.bias.as<T>(),
                      residual, to, compute_);
  round(shape.out_height() * shape.out_width() * shape.c_out, to);
}

template <class T>
void VaePass<T>::norm(const OpTensor& gamma, const T* from, bool silu, T* to) const {
  ops_.rms_norm_silu_forward(pixels(), gamma.size(), from, gamma.as<T>(), silu, to, compute_);
  round(pixels() * gamma.size(), to);
}

template <class T>
void VaePass<T>::norm_and_convolve(const OpTensor& gamma, const VaeConv& conv, const T* from, T* between,
                                   const T* residual, T* to) const {
  if (compute_.on_host() && dtype_ != VaeDtype::kFloat32) {
    norm(gamma, from, true, between);
    convolve(conv, nullptr, between, residual, to);
  } else {
    convolve(conv, &gamma, from, residual, to);
  }
}

/// The stream goes on with what a layer left in the other buffer.
template <class T>
void VaePass<T>::wrote_other() {
  std::swap(stream_, other_);
  in_ = stream_.data();
}

template <class T>
void VaePass<T>::convolve(const VaeConv& conv) {
  convolve(conv, nullptr, in_, nullptr, other_.data());
  wrote_other();
  if (conv.upsample) rows_ = {2 * rows_.begin, 2 * rows_.end}, width_ *= 2;
}

template <class T>
void VaePass<T>::residual_block(const VaeResidualBlock& block) {
  norm_and_convolve(block.norm1, block.conv1, in_, other_.data(), nullptr, inner_.data());
  if (block.shortcut) convolve(*block.shortcut, nullptr, in_, nullptr, other_.data());
  norm_and_convolve(block.norm2, block.conv2, inner_.data(), inner_.data(),
                    block.shortcut ? other_.data() : in_, other_.data());
  wrote_other();
}

/// One head over all pixels.
template <class T>
void VaePass<T>::attention(const WanVaeWeights& weights) {
  const int64_t channels = weights.attention_norm.size(), n = pixels() * channels;
  T *q = inner_.data(), *k = q + n, *v = k + n;
  norm(weights.attention_norm, in_, false, other_.data());
  convolve(weights.q, nullptr, other_.data(), nullptr, q);
  convolve(weights.k, nullptr, other_.data(), nullptr, k);
  convolve(weights.v, nullptr, other_.data(), nullptr, v);
  const int64_t offsets[] = {0, pixels()};
  const int64_t* key_offsets = offsets;
  if (!compute_.on_host()) {
    key_offsets_ = OpBuffer<int64_t>(compute_, 2);
    upload(compute_, key_offsets_.data(), offsets, 2);
    key_offsets = key_offsets_.data();
  }
  const AttentionShape shape{1,        pixels(),    1,       channels,
                             pixels(), key_offsets, nullptr, 1.0f / std::sqrt(static_cast<float>(channels))};
  ops_.attention_forward(shape, q, k, v, other_.data(), nullptr, compute_);
  round(n, other_.data());
  convolve(weights.attention_out, nullptr, other_.data(), in_, stream_.data());
}

template <class T>
bool VaePass<T>::run_trunk(const WanVaeWeights& weights, const float* latents, int64_t h, int64_t w) {
  if (stopped()) return false;
  const int64_t z = weights.post_quant_conv.c_in;
  rows_ = {0, h};
  width_ = w;
  const auto channels_last = [&](float* to) {
    for (int64_t c = 0; c < z; ++c) {
      for (int64_t p = 0; p < pixels(); ++p) to[p * z + c] = latents[c * pixels() + p];
    }
  };
  if constexpr (std::is_same_v<T, float>) {
    if (compute_.on_host()) channels_last(stream_.data());
  }
  if (!compute_.on_host()) {
    Buffer<float> values(z * pixels());
    channels_last(values.data());
    const OpBuffer<T> placed = place<T>(compute_, std::move(values));
    copy<T>(compute_, stream_.data(), placed.data(), z * pixels());
  }
  round(z * pixels(), stream_.data());
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

template <class T>
void VaePass<T>::start_from(const VaePass& from) {
  rows_ = from.rows_;
  width_ = from.width_;
  in_ = from.in_;
}

template <class T>
bool VaePass<T>::run(const VaeStage& stage, const WanVaeWeights& weights) {
  if (stopped()) return false;
  const int64_t channels = stage.block ? stage.block->conv1.c_in : stage.conv->c_in;
  in_ += (stage.rows.begin - rows_.begin) * width_ * channels;
  rows_ = stage.rows;
  if (stage.block) {
    residual_block(*stage.block);
  } else if (stage.conv->upsample) {
    convolve(*stage.conv);
  } else {
    norm_and_convolve(weights.norm_out, *stage.conv, in_, other_.data(), nullptr, inner_.data());
    in_ = inner_.data();
  }
  return true;
}

template <class T>
void VaePass<T>::keep_stream_only() {
  other_ = {};
  inner_ = {};
}

template <class T>
bool VaePass<T>::store(VaeRows rows, float* image, int64_t plane) const {
  const T* from = in_ + (rows.begin - rows_.begin) * width_ * 3;
  const int64_t count = rows.size() * width_;
  int32_t not_finite = 0;
  if (compute_.on_host()) {
    ops_.vae_image(count, plane, from, image, &not_finite, compute_);
  } else {
    OpBuffer<int32_t> flag(compute_, 1);
    fill_zero(compute_, flag.data(), 1);
    ops_.vae_image(count, plane, from, image, flag.data(), compute_);
    download(compute_, &not_finite, flag.data(), 1);
  }
  return not_finite == 0;
}

template class VaePass<float>;
template class VaePass<bf16>;

}  // namespace wandistill
