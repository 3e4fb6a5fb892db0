// A text-to-image pipeline folder in the diffusers layout, teacher or student, its parts loaded when first
// needed.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "wandistill/flow_schedule.h"
#include "wandistill/guided_sampler.h"
#include "wandistill/model_folder.h"
#include "wandistill/text_batch.h"
#include "wandistill/tokenizer.h"
#include "wandistill/umt5.h"
#include "wandistill/wan_transformer.h"
#include "wandistill/wan_vae.h"

namespace wandistill {

class Pipeline {
 public:
  /// A folder, or a name in the local Hugging Face cache. Reads the configs and checks that the parts fit
  /// together; weights are read when first asked for. The experts compute in `dtype`. compute outlives this.
  Pipeline(const std::string& name, const Compute& compute, Dtype dtype = Dtype::kFloat32);

  const std::filesystem::path& folder() const { return index_.folder; }
  const ModelIndex& index() const { return index_; }
  const SchedulerConfig& scheduler() const { return scheduler_; }
  const WanTransformer& transformer() const { return transformer_; }
  const WanVaeConfig& vae_config() const { return vae_config_; }
  bool two_experts() const;

  /// The prompt cleaned, tokenised and encoded.
  TextEmbedding encode(const std::string& prompt);
  /// The experts with their guidance; `negative` must outlive the result.
  GuidedModel guided(double guidance, double guidance_2, const TextEmbedding* negative);
  /// The weights of the expert that sees most of the sigmas (the low-noise one, if there are two), on the
  /// host.
  Buffer<float> main_expert() const;
  const WanVaeDecoder& vae(VaeDtype dtype = VaeDtype::kFloat32);
  /// Frees the weights of the text encoder, the VAE and the experts; they are read again when asked for.
  void release_text_encoder() { encoder_.reset(); }
  void release_vae() { vae_.reset(); }
  void release_experts();

  /// Latent rows and columns of a picture of this many pixels; an error if the sizes do not fit the patches.
  std::pair<int64_t, int64_t> latent_size(int64_t height, int64_t width) const;

  /// Changes when the configs or the weights do: a hash of every config and tensor header and of pieces of
  /// the data.
  uint64_t fingerprint() const;

 private:
  ModelWeights load_expert(const char* part) const;

  const Compute& compute_;
  Dtype dtype_;
  ModelIndex index_;
  SchedulerConfig scheduler_;
  WanTransformer transformer_;
  WanVaeConfig vae_config_;
  std::optional<Tokenizer> tokenizer_;
  std::optional<Umt5Encoder> encoder_;
  std::optional<WanVaeDecoder> vae_;
  ModelWeights high_noise_, low_noise_;
};

}  // namespace wandistill
