#include "src/train/run_settings.h"

namespace wandistill {
namespace fs = std::filesystem;

fs::path run_cache_folder(const TrainOptions& o) {
  return o.cache_dir.empty() ? fs::path(o.output_dir) / "cache" : fs::path(o.cache_dir);
}

fs::path run_checkpoint_folder(const TrainOptions& o) {
  return fs::path(o.output_dir) / "checkpoints";
}

fs::path run_sample_folder(const TrainOptions& o) {
  return o.sample_dir.empty() ? fs::path(o.output_dir) / "samples" : fs::path(o.sample_dir);
}

double run_flow_shift(const TrainOptions& o, const Pipeline& teacher) {
  return o.teacher.flow_shift > 0 ? o.teacher.flow_shift : teacher.scheduler().flow_shift;
}

CacheSettings run_cache_settings(const TrainOptions& o, const Pipeline& teacher, const StudentConfig& student,
                                 uint64_t fingerprint) {
  return {.teacher_fingerprint = fingerprint,
          .sampler = o.teacher.teacher_sampler,
          .steps = o.teacher.teacher_steps,
          .guidance = o.teacher.guidance,
          .guidance_2 = o.teacher.guidance_2,
          .flow_shift = run_flow_shift(o, teacher),
          .negative_prompt = o.teacher.negative_prompt,
          .height = student.image_height,
          .width = student.image_width,
          .seed = o.seed};
}

}  // namespace wandistill
