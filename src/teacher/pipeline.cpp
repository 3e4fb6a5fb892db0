#include "wandistill/pipeline.h"

#include <algorithm>

#include "wandistill/error.h"
#include "wandistill/file.h"
#include "wandistill/hash.h"
#include "wandistill/safetensors.h"
#include "wandistill/stage.h"
#include "wandistill/text_cleaning.h"

namespace wandistill {
namespace fs = std::filesystem;

Pipeline::Pipeline(const std::string& name, const Compute& compute, Dtype dtype)
    : compute_(compute),
      dtype_(dtype),
      index_(ModelIndex::load(resolve_model_folder(name))),
      scheduler_(SchedulerConfig::load(folder().string())),
      transformer_(compute.transformer(WanConfig::load(folder() / "transformer"), dtype)),
      vae_config_(WanVaeConfig::load(folder() / "vae")) {
  const WanConfig& config = transformer_.config();
  if (config.in_channels != vae_config_.z_dim || config.out_channels != vae_config_.z_dim)
    fail(folder().string(), ": the transformer has ", config.in_channels, " input and ", config.out_channels,
         " output channels, the vae ", vae_config_.z_dim, "; all three must be equal for text-to-image");
  if (const int64_t width = Umt5Config::load(folder() / "text_encoder").d_model; config.text_dim != width)
    fail(folder().string(), ": the transformer's text_dim is ", config.text_dim,
         ", the text encoder's d_model ", width, "; they must be equal");
  if (two_experts() && WanConfig::load(folder() / "transformer_2").to_json() != config.to_json())
    fail(folder().string(),
         ": transformer_2/config.json differs from transformer/config.json; two experts of ",
         "different sizes are not supported");
}

bool Pipeline::two_experts() const {
  return index_.has_transformer_2 && index_.boundary_ratio.has_value();
}

TextEmbedding Pipeline::encode(const std::string& prompt) {
  const Stage stage("text");
  if (!tokenizer_) tokenizer_.emplace(folder() / "tokenizer");
  if (!encoder_) encoder_.emplace(folder() / "text_encoder", compute_, dtype_);
  const std::vector<int32_t> ids = tokenizer_->encode(clean_prompt(prompt), kTextPositions);
  TextEmbedding embedding{int64_t(ids.size()), std::vector<float>(ids.size() * size_t(encoder_->width()))};
  encoder_->encode(ids, embedding.rows.data(), compute_);
  return embedding;
}

ModelWeights Pipeline::load_expert(const char* part) const {
  return load_wan_weights(folder() / part, transformer_.layout(), compute_, dtype_);
}

Buffer<float> Pipeline::main_expert() const {
  return load_wan_weights(folder() / (two_experts() ? "transformer_2" : "transformer"),
                          transformer_.layout());
}

GuidedModel Pipeline::guided(double guidance, double guidance_2, const TextEmbedding* negative) {
  if (high_noise_.empty()) {
    high_noise_ = load_expert("transformer");
    if (two_experts()) low_noise_ = load_expert("transformer_2");
  }
  return {.transformer = &transformer_,
          .high_noise = high_noise_.data(),
          .low_noise = low_noise_.empty() ? nullptr : low_noise_.data(),
          .boundary_ratio = index_.boundary_ratio.value_or(0),
          .guidance = guidance,
          .guidance_2 = guidance_2,
          .negative = negative};
}

const WanVaeDecoder& Pipeline::vae(VaeDtype dtype) {
  if (!vae_ || vae_->dtype() != dtype) vae_.emplace(folder() / "vae", dtype, compute_);
  return *vae_;
}

void Pipeline::release_experts() {
  high_noise_ = {};
  low_noise_ = {};
}

std::pair<int64_t, int64_t> Pipeline::latent_size(int64_t height, int64_t width) const {
  const int64_t scale = vae_config_.scale();
  const int64_t rows = scale * transformer_.config().patch_height,
                columns = scale * transformer_.config().patch_width;
  if (height <= 0 || width <= 0 || height % rows || width % columns)
    fail("a picture of ", height, " x ", width,
         " pixels does not fit the model: height must be a multiple of ", rows, ", width of ", columns);
  return {height / scale, width / scale};
}

uint64_t Pipeline::fingerprint() const {
  constexpr int64_t kPieces = 64, kPieceBytes = 4096;
  std::vector<fs::path> files;
  for (const char* part : {"tokenizer", "text_encoder", "transformer", "transformer_2", "vae", "scheduler"})
    if (fs::is_directory(folder() / part))
      for (const auto& entry : fs::directory_iterator(folder() / part))
        if (entry.is_regular_file()) files.push_back(entry.path());
  files.push_back(folder() / "model_index.json");
  std::sort(files.begin(), files.end());
  uint64_t hash = fnv1a("");
  for (const fs::path& file : files) {
    const MappedFile bytes(file);
    hash = fnv1a(cat(fs::relative(file, folder()).string(), " ", bytes.size(), "\n"), hash);
    const char* data = reinterpret_cast<const char*>(bytes.data());
    if (bytes.size() <= 4 * kPieces * kPieceBytes) {
      hash = fnv1a({data, size_t(bytes.size())}, hash);
      continue;
    }
    // A large file: its beginning (the header of safetensors) and pieces spread over it.
    for (int64_t i = 0; i < kPieces; ++i)
      hash = fnv1a({data + (bytes.size() - kPieceBytes) * i / (kPieces - 1), size_t(kPieceBytes)}, hash);
  }
  return hash;
}

}  // namespace wandistill
