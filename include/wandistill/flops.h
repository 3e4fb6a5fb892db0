// How much work the models are, in floating-point operations.
//
// Counted is every matrix product and convolution, 2 m n k for [m, k] times [k, n] (a multiplication and an
// addition are two), and of attention both products, 4 q k C for q queries and k keys of C channels over all
// heads. Norms, activations, rotary embedding, softmax and the optimizer are not: below 1 % of the operations
// at any size that takes long. They still take time, which is part of the fraction of a card's peak that
// products achieve (machine.h).
//
// One block of a Wan transformer on N tokens and T text rows, C channels, F in the feed-forward layer:
//   self-attention    8 N C^2 + 4 N^2 C
//   cross-attention   4 N C^2 + 4 T C^2 + 4 N T C
//   feed-forward      4 N C F
// For Wan2.2-A14B (C = 5120, F = 13824, 40 blocks) at N = 4096 (1024 x 1024 pixels) and T = 512: 115.5e12.
#pragma once

#include <cstdint>

#include "wandistill/umt5_config.h"
#include "wandistill/wan_config.h"

namespace wandistill {

struct WanVaeConfig;

/// All of a forward pass of one sample of N = `tokens` tokens: blocks, embedders, head.
double wan_forward_flops(const WanConfig& config, int64_t tokens, int64_t text_rows);
/// Its backward pass: twice the products (once where no gradient goes further back), and of attention five
/// in place of two, as the scores are computed again.
double wan_backward_flops(const WanConfig& config, int64_t tokens, int64_t text_rows);
/// Forward and backward; with gradient checkpointing the blocks run forward twice.
double wan_training_flops(const WanConfig& config, int64_t tokens, int64_t text_rows, bool checkpointing);

/// The text rows of a prompt of `tokens` tokens (1 to 512): itself, and one that stands for the padding.
int64_t text_rows(int64_t tokens);

/// The text encoder on n tokens.
double umt5_flops(const Umt5Config& config, int64_t n);

/// The VAE decoder on latents h x w, `strip` latent rows at a time (0: all at once): strips compute their
/// neighbours' edges again.
double vae_decode_flops(const WanVaeConfig& config, int64_t h, int64_t w, int64_t strip);

}  // namespace wandistill
