// The VAE decoder of a Wan teacher (AutoencoderKLWan) for one frame.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <vector>

#include "wandistill/queue.h"

namespace wandistill {

/// Sizes from the component's config.json.
struct WanVaeConfig {
  int64_t base_dim;  // of the decoder: decoder_base_dim, or base_dim where that is null
  std::vector<int64_t> dim_mult;
  int64_t num_res_blocks;
  int64_t z_dim;
  std::vector<float> latents_mean, latents_std;  // [z_dim]

  /// folder: the component's, such as <teacher>/vae. Variants that are not supported (residual up blocks,
  /// patches) and keys that are not known are errors naming the key.
  static WanVaeConfig load(const std::filesystem::path& folder);
  /// Picture pixels per latent, in each direction: 8 for four levels.
  int64_t scale() const { return int64_t{1} << (dim_mult.size() - 1); }
};

/// out [z, h, w] = (latents - mean) / std: from the VAE's latents to those that the transformer works on.
/// out may be latents itself, here and below.
void normalise_latents(const WanVaeConfig& config, int64_t h, int64_t w, const float* latents, float* out);
/// out [z, h, w] = latents * std + mean: back to what the decoder takes.
void denormalise_latents(const WanVaeConfig& config, int64_t h, int64_t w, const float* latents, float* out);

struct WanVaeWeights;

/// The decoder with its weights in float32. On a single frame every causal 3-D convolution sees zeros in all
/// but its last temporal tap, so only that one is kept and the decoder is two-dimensional. Safe to use from
/// several threads.
class WanVaeDecoder {
 public:
  /// folder as WanVaeConfig::load takes it. Errors name missing, unknown and wrongly shaped tensors; the
  /// encoder half and the temporal upsampling (which the first frame skips) are allowed and not read.
  explicit WanVaeDecoder(const std::filesystem::path& folder);
  ~WanVaeDecoder();
  WanVaeDecoder(WanVaeDecoder&&) noexcept;

  /// image [3, s h, s w] in [-1, 1], s = config().scale(), from latents [z, h, w] as denormalise_latents
  /// leaves them.
  void decode(const float* latents, int64_t h, int64_t w, float* image, const Queue& queue) const;

  /// Bytes that decode() allocates at its peak: three activation buffers, each as large as the largest
  /// activation (64 h w base_dim floats for dim_mult 1, 2, 4, 4), and the convolutions' scratch (a few MB,
  /// whatever h and w).
  int64_t decode_peak_bytes(int64_t h, int64_t w, int threads) const;

  const WanVaeConfig& config() const { return config_; }

 private:
  int64_t largest_activation(int64_t h, int64_t w) const;

  WanVaeConfig config_;
  std::unique_ptr<const WanVaeWeights> weights_;
};

}  // namespace wandistill
