// The decoder's layers one after the other on some rows of the picture, channels last.
#pragma once

#include <cstdint>
#include <functional>

#include "src/model/wan_vae_stages.h"
#include "wandistill/compute.h"

namespace wandistill {

/// Three buffers suffice: two for the residual stream, which a layer reads from one and writes to the other,
/// and an inner one for what lies between two layers.
/// T: the element type, float or bf16.
template <class T>
class VaePass {
 public:
  /// stop (may be empty) is asked before every part of what follows; where it returns true, that function
  /// ends with false.
  VaePass(const VaeMemory& memory, VaeDtype dtype, const Compute& compute, const std::function<bool()>& stop);

  /// latents [z, h, w], on the host, through everything up to the middle block's end.
  [[nodiscard]] bool run_trunk(const WanVaeWeights& weights, const float* latents, int64_t h, int64_t w);
  /// Goes on with what stands in `from`, which must live until the next stage has run.
  void start_from(const VaePass& from);
  [[nodiscard]] bool run(const VaeStage& stage, const WanVaeWeights& weights);
  /// Frees all buffers but the stream's.
  void keep_stream_only();

  /// After the last stage: the pixels, [3, rows, w] of `rows` of the picture, into the planes of an image
  /// (where the ops work) that begin `plane` floats apart, clamped to [-1, 1]. False if one of them is not
  /// finite.
  bool store(VaeRows rows, float* image, int64_t plane) const;

 private:
  bool stopped() const { return stop_ && stop_(); }
  int64_t pixels() const { return rows_.size() * width_; }
  /// gamma, where given: of the norm with SiLU in front.
  void convolve(const VaeConv& conv, const OpTensor* gamma, const T* from, const T* residual, T* to) const;
  /// The same, in two steps through `between` (it may be `from`) where what the norm leaves is to be rounded.
  void norm_and_convolve(const OpTensor& gamma, const VaeConv& conv, const T* from, T* between,
                         const T* residual, T* to) const;
  void norm(const OpTensor& gamma, const T* from, bool silu, T* to) const;
  /// On the host, to what the dtype would have kept.
  void round(int64_t n, T* x) const;
  void convolve(const VaeConv& conv);
  void residual_block(const VaeResidualBlock& block);
  void attention(const WanVaeWeights& weights);
  void wrote_other();

  const Compute& compute_;
  const OpsOf<T>& ops_;
  const std::function<bool()>& stop_;
  VaeDtype dtype_;
  VaeRows rows_{};  // of the picture, in the stream
  int64_t width_ = 0;
  const T* in_ = nullptr;  // the stream, [rows, width, channels]: in stream_, or another pass's at first
  OpBuffer<T> stream_, other_, inner_;
  OpBuffer<int64_t> key_offsets_;  // [2], of the middle attention
};

}  // namespace wandistill
