#include "src/plan/run_writes.h"

#include <set>

#include "src/train/run_settings.h"
#include "wandistill/pipeline.h"
#include "wandistill/teacher_cache.h"

namespace wandistill {

int64_t cached_trajectories(const PlanInput& input, const std::vector<std::string>& prompts) {
  const TrainOptions& o = input.options;
  const Compute compute = Queue{1};
  Pipeline teacher(o.teacher.teacher_path, compute);
  teacher.set_schedule(o.teacher.flow_shift, o.teacher.boundary_ratio);
  const TeacherCache cache(
      run_cache_folder(o),
      CacheSettings::of(o.teacher, teacher, teacher.fingerprint(), input.height, input.width, o.seed,
                        cache_dtype(run_cache_folder(o), o.cache.cache_dtype)));
  const std::set<std::string> wanted(prompts.begin(), prompts.end());
  int64_t present = 0;
  for (int64_t i = 0; i < cache.items(); ++i)
    present += wanted.contains(cache.item(i).prompt) && cache.item(i).repetition < o.cache.repetitions;
  return present;
}

std::vector<std::pair<std::filesystem::path, int64_t>> run_writes(const TrainOptions& o,
                                                                  const PlanFiles& files, int64_t missing) {
  const std::pair cache(run_cache_folder(o), missing * files.cache_trajectory);
  if (o.output_dir.empty()) return {cache};
  return {cache, {o.output_dir, files.checkpoints + files.student}, {run_sample_folder(o), files.pictures}};
}

}  // namespace wandistill
