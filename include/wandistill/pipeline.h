// A text-to-image pipeline folder in the diffusers layout, teacher or student, its parts loaded when first
// needed.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "wandistill/flow_schedule.h"
#include "wandistill/guided_sampler.h"
#include "wandistill/model_folder.h"
#include "wandistill/teacher_placement.h"
#include "wandistill/text_batch.h"
#include "wandistill/tokenizer.h"
#include "wandistill/umt5.h"
#include "wandistill/wan_transformer.h"
#include "wandistill/wan_vae.h"

namespace wandistill {

class Experts;

class Pipeline {
 public:
  /// A folder, or a name in the local Hugging Face cache. Reads the configs and checks that the parts fit
  /// together, no weights. Text encoder and experts compute in `dtype`. compute outlives this.
  Pipeline(const std::string& name, const Compute& compute, Dtype dtype = Dtype::kFloat32);
  ~Pipeline();

  const std::filesystem::path& folder() const { return index_.folder; }
  const ModelIndex& index() const { return index_; }
  const SchedulerConfig& scheduler() const { return scheduler_; }
  /// It computes where the experts are placed; before that, where all else does.
  const WanTransformer& transformer() const { return transformer_; }
  const WanVaeConfig& vae_config() const { return vae_config_; }
  bool two_experts() const;

  // What reads large weights is collective: the ranks of a node read them once. With a null session it is a
  // program of one process. What is there already is not read again.

  /// In place of what the folder says; flow_shift 0, boundary_ratio negative: as it is. Error where there is
  /// one expert for both sides of a boundary.
  void set_schedule(double flow_shift, double boundary_ratio);

  void load_text_encoder(Session* session);
  /// The prompt cleaned, tokenised and encoded. Not collective; after load_text_encoder().
  TextEmbedding encode(const std::string& prompt);
  /// kAuto: by the GPU's memory that is free beside `beside` bytes; on the CPU there is kHost alone.
  void load_experts(Session* session, TeacherPlacement placement, int64_t beside);
  /// Bytes on a GPU beside the experts while B pictures with these text rows in all are denoised.
  int64_t bytes_beside(int64_t pictures, bool guided, int64_t h, int64_t w, int64_t text_rows) const;
  /// Where they are; kAuto before load_experts().
  TeacherPlacement placement() const { return placement_; }
  /// Going from one expert to the other takes time (their weights are moved).
  bool experts_change_places() const;
  /// The experts with their guidance; `negative` must outlive the result. Not collective; after
  /// load_experts().
  GuidedModel guided(double guidance, double guidance_2, const TextEmbedding* negative) const;
  /// The float32 weights, on the host, of the expert that sees most of the sigmas (the low-noise one, if
  /// there are two); until release_experts().
  WanWeights main_expert(Session* session);
  const WanVaeDecoder& vae(VaeDtype dtype = VaeDtype::kFloat32);
  /// Free the weights. They may be loaded again.
  void release_text_encoder() { encoder_.reset(); }
  void release_vae() { vae_.reset(); }
  void release_experts();

  /// Latent rows and columns of a picture of this many pixels; an error if the sizes do not fit the patches.
  std::pair<int64_t, int64_t> latent_size(int64_t height, int64_t width) const;

  /// Changes when the configs or the weights do: a hash of every config and tensor header and of pieces of
  /// the data.
  uint64_t fingerprint() const;

 private:
  const Compute& experts_compute() const { return placement_ == TeacherPlacement::kHost ? host_ : compute_; }

  const Compute& compute_;
  const Compute host_;
  Dtype dtype_;
  ModelIndex index_;
  SchedulerConfig scheduler_;
  WanTransformer transformer_;
  WanVaeConfig vae_config_;
  std::optional<Tokenizer> tokenizer_;
  std::optional<Umt5Encoder> encoder_;
  std::optional<WanVaeDecoder> vae_;
  TeacherPlacement placement_ = TeacherPlacement::kAuto;
  std::unique_ptr<Experts> experts_, main_expert_;
};

}  // namespace wandistill
