// The VAE decoder of a Wan teacher (AutoencoderKLWan) for one frame.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "wandistill/compute.h"

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

/// What the decoder's tensors are kept in. A device computes with them (float32 and bfloat16). The CPU
/// computes in float32 all the same; in a 16-bit type the
/// weights are rounded to it when they are loaded, and what each layer writes (a convolution with its
/// residual sum, a norm with its SiLU, the attention) is rounded as it is written, so that a picture shows
/// what that type costs. Rounding is to nearest, ties to even.
enum class VaeDtype { kFloat32, kBfloat16, kFloat16 };

/// Of "float32", "bfloat16" or "float16"; anything else is an error naming these.
VaeDtype parse_vae_dtype(const std::string& name);

struct WanVaeWeights;

/// Rows [begin, end) of the latents [z, h, w], `strip` at a time.
struct VaeBand {
  const float* latents;
  int64_t h, w, begin, end, strip;
};

/// The decoder with its weights. On a single frame every causal 3-D convolution sees zeros in all but its
/// last temporal tap, so only that one is kept and the decoder is two-dimensional. Safe to use from several
/// threads.
///
/// What is done at the latents' resolution up to the middle block's attention, which sees all of them, is
/// done once for the whole picture. Behind it the layers work on strips of full-width rows, with as many rows
/// above and below as the remaining convolutions reach. Pictures are the same, bit for bit, for any strips
/// and bands.
class WanVaeDecoder {
 public:
  /// folder as WanVaeConfig::load takes it. Errors name missing, unknown and wrongly shaped tensors; the
  /// encoder half and the temporal upsampling (which the first frame skips) are allowed and not read.
  /// compute is that of the decode() that follow.
  explicit WanVaeDecoder(const std::filesystem::path& folder, VaeDtype dtype = VaeDtype::kFloat32,
                         const Compute& compute = Queue{});
  ~WanVaeDecoder();
  WanVaeDecoder(WanVaeDecoder&&) noexcept;

  /// image [3, s h, s w] in [-1, 1], s = config().scale(), where the ops work, from latents [z, h, w] on the
  /// host as denormalise_latents leaves them. Throws Error if the picture is not finite, as when float16
  /// overflows.
  void decode(const float* latents, int64_t h, int64_t w, float* image, const Compute& compute) const;

  /// The band of that picture which belongs to the latent rows [begin, end): image [3, s (end - begin), s w].
  /// Works on `strip` latent rows at a time; 0: on all at once. `stop`, where given, is asked before every
  /// residual block, the attention and every other convolution, for each strip anew; once it returns true the
  /// band is given up: false, and image holds anything.
  bool decode_rows(const float* latents, int64_t h, int64_t w, int64_t begin, int64_t end, int64_t strip,
                   float* image, const Compute& compute, const std::function<bool()>& stop = {}) const;

  /// Bytes that decode_rows() allocates at its peak for a band of `rows` latent rows, wherever it lies. The
  /// larger of the part done once (5 h w floats per channel of the middle block; 1 of them stays) and one
  /// strip's buffers (less than three of 64 w base_dim floats per latent row for dim_mult 1, 2, 4, 4, its
  /// neighbours' rows included), each with the convolutions' scratch.
  int64_t decode_peak_bytes(int64_t h, int64_t w, int64_t rows, int64_t strip, int threads) const;
  /// The largest strip whose peak for the whole picture is within `bytes`. Where not even one row's is: the
  /// largest that needs no more than one row does.
  int64_t strip_rows(int64_t h, int64_t w, int64_t bytes, int threads) const;

  const WanVaeConfig& config() const { return config_; }
  VaeDtype dtype() const { return dtype_; }

 private:
  template <class T>
  bool decode_band(const VaeBand& band, float* image, const Compute& compute,
                   const std::function<bool()>& stop) const;

  WanVaeConfig config_;
  VaeDtype dtype_;
  bool narrow_ = false;  // computes in bf16
  std::unique_ptr<const WanVaeWeights> weights_;
};

}  // namespace wandistill
