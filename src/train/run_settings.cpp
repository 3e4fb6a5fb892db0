#include "src/train/run_settings.h"

namespace wandistill {
namespace fs = std::filesystem;

fs::path run_cache_folder(const TrainOptions& o) {
  return o.cache.cache_dir.empty() ? fs::path(o.output_dir) / "cache" : fs::path(o.cache.cache_dir);
}

fs::path run_checkpoint_folder(const TrainOptions& o) {
  return fs::path(o.output_dir) / "checkpoints";
}

fs::path run_sample_folder(const TrainOptions& o) {
  return o.sample_dir.empty() ? fs::path(o.output_dir) / "samples" : fs::path(o.sample_dir);
}

std::vector<fs::path> run_folders(const TrainOptions& o) {
  std::vector<fs::path> folders{o.output_dir};
  for (const std::string& other : {o.cache.cache_dir, o.save_samples ? o.sample_dir : ""})
    if (!other.empty()) folders.emplace_back(other);
  return folders;
}

CacheSettings run_cache_settings(const TrainOptions& o, const Pipeline& teacher, const StudentConfig& student,
                                 uint64_t fingerprint, const std::string& dtype) {
  return CacheSettings::of(o.teacher, teacher, fingerprint, student.image_height, student.image_width, o.seed,
                           dtype);
}

}  // namespace wandistill
