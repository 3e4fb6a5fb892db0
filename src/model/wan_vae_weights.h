// The decoder's layers with their weights, as wan_vae.cpp runs them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "wandistill/component_tensors.h"
#include "wandistill/compute.h"
#include "wandistill/ops/conv2d.h"
#include "wandistill/safetensors.h"
#include "wandistill/wan_vae.h"

namespace wandistill {

/// A convolution of one frame.
struct VaeConv {
  int64_t c_in, c_out, kernel;
  bool upsample;
  OpTensor weight;  // [kernel, kernel, c_in, c_out]
  OpTensor bias;    // [c_out]

  /// Rows it reads above and below an output's own, of the doubled picture where it upsamples.
  int64_t reach() const { return kernel / 2; }
  Conv2dShape shape(int64_t h, int64_t w) const { return {h, w, c_in, c_out, kernel, upsample}; }
};

/// x + conv2(silu(norm2(conv1(silu(norm1(x)))))); where the channels change, the shortcut's x.
struct VaeResidualBlock {
  OpTensor norm1, norm2;  // [c_in], [c_out]
  VaeConv conv1, conv2;
  std::optional<VaeConv> shortcut;

  int64_t reach() const { return conv1.reach() + conv2.reach(); }
};

struct VaeUpBlock {
  std::vector<VaeResidualBlock> resnets;
  std::optional<VaeConv> upsampler;  // absent in the last block
};

struct WanVaeWeights {
  /// Rounded to dtype, in which a device keeps them.
  WanVaeWeights(const std::filesystem::path& folder, const WanVaeConfig& config, VaeDtype dtype,
                const Compute& compute);
  /// The layers' sizes without values, for what needs no more. tensors, where given, receives what the other
  /// constructor reads.
  explicit WanVaeWeights(const WanVaeConfig& config, std::vector<TensorSpec>* tensors = nullptr);

  VaeConv post_quant_conv, conv_in;
  VaeResidualBlock before_attention, after_attention;  // the middle block
  OpTensor attention_norm;
  VaeConv q, k, v, attention_out;
  std::vector<VaeUpBlock> up_blocks;
  OpTensor norm_out;
  VaeConv conv_out;
};

}  // namespace wandistill
