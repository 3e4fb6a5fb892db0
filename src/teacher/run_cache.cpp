// `wandistill cache`: the teacher's trajectories, without a student.
#include <optional>

#include "wandistill/commands.h"
#include "wandistill/dry_run.h"
#include "wandistill/preflight.h"
#include "wandistill/progress.h"
#include "wandistill/prompts.h"
#include "wandistill/student_config.h"
#include "wandistill/teacher_cache.h"

namespace wandistill {

namespace {

constexpr int kStopped = 85;  // by a signal: run the same command again

}  // namespace

int run_cache(Session& session, const FillOptions& options) {
  session.set_collective_timeout(options.fence_timeout);
  if (options.dry_run) return dry_run_cache(session, options);
  preflight(session, options.device, {});  // filling the cache looks at its folder
  const ComputeDevice device(session, options.device, "own");
  const Compute& compute = device.compute();
  StopSignals stop;
  stop_before_the_end(session, options.time_margin, &stop);
  std::optional<Pipeline> teacher;
  std::vector<std::string> prompts;
  int64_t height = options.height, width = options.width;
  uint64_t fingerprint = 0;
  session.collectively([&] {
    teacher_placement_of(options.cache.placement);  // do the options agree?
    teacher.emplace(options.teacher.teacher_path, compute,
                    parse_teacher_dtype(options.teacher.teacher_dtype));
    teacher->set_schedule(options.teacher.flow_shift, options.teacher.boundary_ratio);
    if (height == 0) {
      const StudentConfig student = StudentConfig::load(options.student_config);
      height = student.image_height;
      width = student.image_width;
    }
    teacher->latent_size(height, width);  // does it fit?
    prompts = read_prompts(options.data_path);
    fingerprint = teacher->fingerprint();
  });
  if (session.is_root()) {
    print_line(session.placement());
    print_line(cat("the teacher is computed in ",
                   compute.products(parse_teacher_dtype(options.teacher.teacher_dtype))));
    print_line(cat("teacher ", teacher->folder().string(), ", ", height, " x ", width, " pixels; ",
                   prompts.size(), " prompts from ", options.data_path));
  }
  const std::string& folder = options.cache.cache_dir;
  const CacheSettings settings =
      CacheSettings::of(options.teacher, *teacher, fingerprint, height, width, options.seed,
                        choose_cache_dtype(session, folder, options.cache.cache_dtype));
  if (!fill_teacher_cache(session, folder, settings, *teacher, prompts, options.cache, stop, compute)) {
    if (session.is_root())
      print_line(
          "stopped by a signal; the cache keeps what was computed, run the same command again to go on");
    return kStopped;
  }
  if (session.is_root()) print_line(cat("the teacher cache ", folder, " is complete"));
  return 0;
}

}  // namespace wandistill
