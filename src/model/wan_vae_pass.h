// The decoder's layers one after the other on some rows of the picture, channels last.
#pragma once

#include <cstdint>

#include "src/model/wan_vae_stages.h"
#include "wandistill/buffer.h"
#include "wandistill/queue.h"

namespace wandistill {

/// Three buffers suffice: two for the residual stream, which a layer reads from one and writes to the other,
/// and an inner one for what lies between two layers.
class VaePass {
 public:
  VaePass(const VaeMemory& memory, VaeDtype dtype, const Queue& queue);

  /// latents [z, h, w] through everything up to the middle block's end.
  void run_trunk(const WanVaeWeights& weights, const float* latents, int64_t h, int64_t w);
  /// Goes on with what stands in `from`, which must live until the next stage has run.
  void start_from(const VaePass& from);
  void run(const VaeStage& stage, const WanVaeWeights& weights);
  /// Frees all buffers but the stream's.
  void keep_stream_only();

  /// After the last stage: the pixels, [3, rows, w] of `rows` of the picture, into the planes of an image
  /// that begin `plane` floats apart, clamped to [-1, 1]. False if one of them is not finite.
  bool store(VaeRows rows, float* image, int64_t plane) const;

 private:
  int64_t pixels() const { return rows_.size() * width_; }
  void convolve(const VaeConv& conv, const float* from, const float* residual, float* to) const;
  void norm(const Buffer<float>& gamma, const float* from, bool silu, float* to) const;
  void convolve(const VaeConv& conv);
  void residual_block(const VaeResidualBlock& block);
  void attention(const WanVaeWeights& weights);
  void wrote_other();

  const Queue& queue_;
  VaeDtype dtype_;
  VaeRows rows_{};  // of the picture, in the stream
  int64_t width_ = 0;
  const float* in_ = nullptr;  // the stream, [rows, width, channels]: in stream_, or another pass's at first
  Buffer<float> stream_, other_, inner_;
};

}  // namespace wandistill
