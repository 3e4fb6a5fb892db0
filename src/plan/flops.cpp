#include "wandistill/flops.h"

#include "src/model/wan_vae_stages.h"

namespace wandistill {
namespace {

double product(int64_t m, int64_t n, int64_t k) {
  return 2.0 * double(m) * double(n) * double(k);
}

double attention(int64_t queries, int64_t keys, int64_t channels) {
  return 2 * product(queries, keys, channels);
}

/// The parts of a transformer's forward pass that the backward pass treats differently.
struct WanFlops {
  double blocks = 0;     // the blocks' products
  double attention = 0;  // the blocks' attention
  double inside = 0;     // embedders' and head's products whose input has a gradient
  double first = 0;      // those whose input has none: latents, text, timestep
};

WanFlops forward(const WanConfig& c, int64_t N, int64_t T) {
  const int64_t C = c.hidden(), patch = c.patch_height * c.patch_width;
  WanFlops f;
  f.blocks = double(c.layers) * (6 * product(N, C, C) + 2 * product(T, C, C) + product(N, c.ffn_dim, C) +
                                 product(N, C, c.ffn_dim));
  f.attention = double(c.layers) * (attention(N, N, C) + attention(N, T, C));
  f.inside =
      product(1, C, C) + product(1, 6 * C, C) + product(T, C, C) + product(N, c.out_channels * patch, C);
  f.first = product(N, C, c.in_channels * patch) + product(T, C, c.text_dim) + product(1, C, c.freq_dim);
  return f;
}

double convolution(const VaeConv& conv, int64_t h, int64_t w) {
  const Conv2dShape shape = conv.shape(h, w);
  return product(shape.out_height() * shape.out_width(), conv.c_out, conv.kernel * conv.kernel * conv.c_in);
}

double residual_block(const VaeResidualBlock& block, int64_t h, int64_t w) {
  return convolution(block.conv1, h, w) + convolution(block.conv2, h, w) +
         (block.shortcut ? convolution(*block.shortcut, h, w) : 0);
}

/// Stages on pictures that are w wide at the first.
double stages_flops(const std::vector<VaeStage>& stages, int64_t w) {
  double flops = 0;
  for (const VaeStage& stage : stages) {
    const int64_t rows = stage.rows.size();
    flops += stage.block ? residual_block(*stage.block, rows, w) : convolution(*stage.conv, rows, w);
    if (stage.conv && stage.conv->upsample) w *= 2;
  }
  return flops;
}

}  // namespace

double wan_forward_flops(const WanConfig& config, int64_t tokens, int64_t text_rows) {
  const WanFlops f = forward(config, tokens, text_rows);
  return f.blocks + f.attention + f.inside + f.first;
}

double wan_backward_flops(const WanConfig& config, int64_t tokens, int64_t text_rows) {
  const WanFlops f = forward(config, tokens, text_rows);
  return 2 * f.blocks + 2.5 * f.attention + 2 * f.inside + f.first;
}

double wan_training_flops(const WanConfig& config, int64_t tokens, int64_t text_rows, bool checkpointing) {
  const WanFlops f = forward(config, tokens, text_rows);
  return wan_forward_flops(config, tokens, text_rows) + wan_backward_flops(config, tokens, text_rows) +
         (checkpointing ? f.blocks + f.attention : 0);
}

int64_t text_rows(int64_t tokens) {
  return tokens < kTextPositions ? tokens + 1 : kTextPositions;
}

double umt5_flops(const Umt5Config& c, int64_t n) {
  const int64_t inner = c.heads * c.d_kv;
  return double(c.layers) *
         (4 * product(n, inner, c.d_model) + attention(n, n, inner) + 3 * product(n, c.d_ff, c.d_model));
}

double vae_decode_flops(const WanVaeConfig& config, int64_t h, int64_t w, int64_t strip) {
  const WanVaeWeights layers(config);
  const int64_t pixels = h * w, middle = layers.q.c_out, step = strip > 0 ? strip : h;
  double flops = convolution(layers.post_quant_conv, h, w) + convolution(layers.conv_in, h, w) +
                 residual_block(layers.before_attention, h, w) +
                 residual_block(layers.after_attention, h, w) + 4 * convolution(layers.q, h, w) +
                 attention(pixels, pixels, middle) + stages_flops(trunk_stages(layers, h, {0, h}), w);
  for (int64_t first = 0; first < h; first += step)
    flops += stages_flops(strip_stages(layers, h, {first, std::min(first + step, h)}), w);
  return flops;
}

}  // namespace wandistill
