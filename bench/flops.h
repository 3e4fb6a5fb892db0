// What a pass of a Wan transformer takes by the formula.
#pragma once

#include "wandistill/wan_config.h"

namespace wandistill::bench {

struct Gflop {
  double forward, backward;
};

/// Of one sample with L tokens and T text rows. Backward has two products for each of a linear layer, and
/// five for attention's two.
inline Gflop gflop_per_sample(const WanConfig& config, double L, double T) {
  const double C = double(config.hidden()), F = double(config.ffn_dim), layers = double(config.layers);
  const double patch = double(config.patch_height * config.patch_width);
  double linear = L * C * patch * double(config.in_channels + config.out_channels);
  linear += double(config.freq_dim) * C + 7 * C * C + T * (double(config.text_dim) * C + C * C);
  linear +=
      layers * (6 * L * C * C + 2 * T * C * C + 2 * L * C * F);  // self and cross-attention, feed-forward
  const double attention = layers * 2 * L * C * (L + T);
  return {2e-9 * (linear + attention), 2e-9 * (2 * linear + 2.5 * attention)};
}

}  // namespace wandistill::bench
