#include "wandistill/pipeline.h"

#include <algorithm>

#include "src/teacher/experts.h"
#include "wandistill/error.h"
#include "wandistill/file.h"
#include "wandistill/hash.h"
#include "wandistill/job_sizes.h"
#include "wandistill/memory.h"
#include "wandistill/progress.h"
#include "wandistill/safetensors.h"
#include "wandistill/stage.h"
#include "wandistill/text_cleaning.h"

namespace wandistill {
namespace fs = std::filesystem;
namespace {

/// "57.2 GB in 14.3 s, 4.00 GB/s"
std::string rate_text(const LoadFigures& figures) {
  char text[80];
  std::snprintf(text, sizeof text, "%.3g GB in %.1f s, %.3g GB/s", double(figures.bytes) / 1e9,
                figures.seconds, double(figures.bytes) / 1e9 / std::max(1e-9, figures.seconds));
  return text;
}

void say(const Session* session, const std::string& text) {
  if (session && session->is_root()) print_line(text);
}

}  // namespace

Pipeline::Pipeline(const std::string& name, const Compute& compute, Dtype dtype)
    : compute_(compute),
      host_(compute.on_cpu()),
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

Pipeline::~Pipeline() = default;

bool Pipeline::two_experts() const {
  return index_.has_transformer_2 && index_.boundary_ratio.has_value();
}

void Pipeline::set_schedule(double flow_shift, double boundary_ratio) {
  if (flow_shift > 0) scheduler_.flow_shift = flow_shift;
  if (boundary_ratio < 0) return;
  if (!two_experts())
    fail("--boundary_ratio ", boundary_ratio, ": ", folder().string(),
         " has one expert (no transformer_2, or no boundary_ratio in model_index.json)");
  index_.boundary_ratio = boundary_ratio;
}

void Pipeline::load_text_encoder(Session* session) {
  const auto load_tokenizer = [&] {
    if (!tokenizer_) tokenizer_.emplace(folder() / "tokenizer");
  };
  session ? session->collectively(load_tokenizer) : load_tokenizer();
  if (encoder_) return;
  encoder_.emplace(folder() / "text_encoder", compute_, dtype_, session);
  say(session, cat("text encoder: read ", rate_text(encoder_->figures())));
}

TextEmbedding Pipeline::encode(const std::string& prompt) {
  const Stage stage("text");
  WD_REQUIRE(encoder_);
  const std::vector<int32_t> ids = tokenizer_->encode(clean_prompt(prompt), kTextPositions);
  TextEmbedding embedding{int64_t(ids.size()), std::vector<float>(ids.size() * size_t(encoder_->width()))};
  encoder_->encode(ids, embedding.rows.data(), compute_);
  return embedding;
}

void Pipeline::load_experts(Session* session, TeacherPlacement placement, int64_t beside) {
  if (experts_) return;
  const WanConfig& config = transformer_.config();
  const TeacherSizes sizes{config, two_experts() ? 2 : 1, compute_.element(dtype_)};
  placement_ = TeacherPlacement::kHost;
  if (!compute_.on_host()) {
    const int64_t free = compute_.device->free_bytes();
    placement_ = placement != TeacherPlacement::kAuto ? placement
                 : free < 0                           ? TeacherPlacement::kResident
                                                      : sizes.choose(free - beside);
    // The ranks' GPUs may differ.
    if (session) placement_ = static_cast<TeacherPlacement>(int(session->max(double(int(placement_)))));
    if (placement_ == TeacherPlacement::kExpert && !two_experts()) placement_ = TeacherPlacement::kResident;
  }
  transformer_ = experts_compute().transformer(config, dtype_);
  std::vector<fs::path> folders{folder() / "transformer"};
  if (two_experts()) folders.push_back(folder() / "transformer_2");
  experts_ = wandistill::load_experts(session, folders, transformer_.layout(), experts_compute(), dtype_,
                                      placement_);
  const int64_t on_gpu = compute_.on_host() ? 0 : sizes.gpu_bytes(placement_);
  say(session,
      cat("experts: ", experts_->where, on_gpu ? cat(", ", on_gpu / 1'000'000, " MB of each GPU") : "",
          "; read ", rate_text(experts_->figures)));
}

int64_t Pipeline::bytes_beside(int64_t pictures, bool guided, int64_t h, int64_t w, int64_t text_rows) const {
  const WanConfig& config = transformer_.config();
  const int64_t passes = guided ? 2 : 1, numbers = pictures * config.in_channels * h * w;
  return WanActivations::bytes(config, Keep::kNothing, passes * pictures, config.tokens(h, w), text_rows,
                               compute_.element(dtype_)) +
         (2 * passes + (two_experts() ? kBatchesPerExpert : 1)) * numbers * int64_t(sizeof(float));
}

bool Pipeline::experts_change_places() const {
  if (!two_experts()) return false;
  if (placement_ == TeacherPlacement::kExpert) return true;
  // Mapped files that do not fit are read again whenever the other expert has been at work.
  return placement_ == TeacherPlacement::kHost &&
         2 * transformer_.layout().total() * int64_t(sizeof(float)) > available_memory();
}

WanWeights Pipeline::main_expert(Session* session) {
  if (placement_ == TeacherPlacement::kHost && experts_) return experts_->weights(two_experts() ? 1 : 0);
  if (!main_expert_)
    main_expert_ =
        wandistill::load_experts(session, {folder() / (two_experts() ? "transformer_2" : "transformer")},
                                 transformer_.layout(), host_, Dtype::kFloat32, TeacherPlacement::kHost);
  return main_expert_->weights(0);
}

GuidedModel Pipeline::guided(double guidance, double guidance_2, const TextEmbedding* negative) const {
  WD_REQUIRE(experts_);
  return {.transformer = &transformer_,
          .high_noise = experts_->weights(0),
          .low_noise = two_experts() ? experts_->weights(1) : WanWeights(),
          .compute = &experts_compute(),
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
  experts_.reset();
  main_expert_.reset();
  placement_ = TeacherPlacement::kAuto;
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
