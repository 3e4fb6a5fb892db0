// An expert of one or more blocks evaluated in float64 for a few tokens: written from the paper and the
// reference, with none of the program's ops.
#pragma once

#include <vector>

#include "wandistill/text_batch.h"
#include "wandistill/wan_transformer.h"

namespace wandistill::testing {

/// Velocity of these tokens' patches, [tokens, out_channels * patch_height * patch_width] as proj_out orders
/// them (row, column, channel of the patch), of one picture with latents [C, h, w]. Only an expert with one
/// block needs no more than these tokens' own rows behind its attention: others are refused.
std::vector<double> velocity_of_tokens(const WanConfig& config, const ParameterLayout& layout,
                                       const WanWeights& weights, int64_t h, int64_t w, const float* latents,
                                       double timestep, const TextEmbedding& text,
                                       const std::vector<int64_t>& tokens);

}  // namespace wandistill::testing
