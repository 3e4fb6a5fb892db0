// Finding a diffusers model folder, and what its model_index.json says.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>

namespace wandistill {

/// The folder that `name` means: an existing folder is itself; "Org/Name" is looked up in the local Hugging
/// Face cache ($HF_HUB_CACHE, $HF_HOME/hub, ~/.cache/huggingface/hub). Otherwise an Error that shows the
/// command that downloads it. Nothing is ever downloaded here.
std::filesystem::path resolve_model_folder(const std::string& name);

/// A pipeline folder's model_index.json.
struct ModelIndex {
  /// Error where the folder has no readable model_index.json or one that is no Wan text-to-video pipeline.
  static ModelIndex load(const std::filesystem::path& folder);

  std::filesystem::path folder;
  std::string pipeline_class;            ///< "_class_name", e.g. "WanPipeline"
  std::optional<double> boundary_ratio;  ///< null or absent: one expert
  bool has_transformer_2 = false;        ///< a second expert is listed (not [null, null])
  /// "_image_size", pixels or [height, width]: default height and width for sampling
  std::optional<std::pair<int64_t, int64_t>> image_size;
};

}  // namespace wandistill
