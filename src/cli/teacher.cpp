// The options of everything that asks the teacher.
#include "src/cli/subcommands.h"

namespace wandistill::cli {

void declare_schedule(OptionSet& set, double* flow_shift, double* boundary_ratio) {
  set.add("flow_shift", flow_shift, "S", "shift of the sigmas (default: as the model's scheduler says)")
      ->limits(at_least(0))
      ->unset_means("as the model's scheduler says");
  set.add("boundary_ratio", boundary_ratio, "R",
          "sigma from which on the high-noise expert of two is at work (default: as the model's folder says)")
      ->limits(between(0, 1))
      ->unset_means("as the model's folder says");
}

void declare_teacher(OptionSet& set, TeacherOptions& o) {
  set.group("Teacher");
  set.add("teacher_path", &o.teacher_path, "DIR",
          "folder in the diffusers layout, or a name like Wan-AI/Wan2.2-T2V-A14B-Diffusers in the local "
          "Hugging Face cache")
      ->help_default("DATA/tiny-wan");
  set.add("teacher_dtype", &o.teacher_dtype, "",
          "for computing the teacher on a GPU, and of its transformers' products on the CPU; weights are "
          "read in whatever dtype the files have; float16 is computed in bfloat16")
      ->choices({"float32", "bfloat16", "float16"});
  set.add("teacher_steps", &o.teacher_steps, "N", "denoising steps per trajectory")->limits(at_least(1));
  set.add("teacher_sampler", &o.teacher_sampler, "", "how the teacher samples")->choices({"ddim", "unipc"});
  set.add("guidance", &o.guidance, "G", "guidance of the high-noise expert; 1 is none")->limits(at_least(0));
  set.add("guidance_2", &o.guidance_2, "G", "guidance of the low-noise expert")->limits(at_least(0));
  set.add("negative_prompt", &o.negative_prompt, "TEXT",
          "what guidance leads away from (default: the empty prompt)");
  declare_schedule(set, &o.flow_shift, &o.boundary_ratio);
}

OptionValue* declare_cache(OptionSet& set, CacheOptions& o, const std::string& folder) {
  set.group("Teacher cache");
  OptionValue* cache_dir = set.add("cache_dir", &o.cache_dir, "DIR", folder);
  set.add("repetitions", &o.repetitions, "N", "trajectories per prompt, each from its own noise")
      ->limits(at_least(1));
  set.add("teacher_batch", &o.teacher_batch, "N", "prompts that the teacher denoises at once on a rank")
      ->limits(at_least(1));
  set.add("teacher_placement", &o.placement.teacher_placement, "",
          "where the experts are: both on the GPU; one at a time; its blocks streamed from the host; "
          "computed on the CPU; auto: the first that fits")
      ->choices({"auto", "resident", "expert", "stream", "host"});
  set.add("teacher_device_strategy", &o.placement.teacher_device_strategy, "",
          "the same in other words: host, expert, resident, auto")
      ->choices({"cpu", "balanced", "gpu0", "auto"})
      ->unset_means("as --teacher_placement says");
  set.add("teacher_on_cpu", &o.placement.teacher_on_cpu, "--teacher_placement host");
  set.add("cache_dtype", &o.cache_dtype, "",
          "of latents and velocities in the files; auto: as the folder has them, float32 in a new one")
      ->choices({"auto", "float32", "bfloat16", "float16"});
  set.add("shard_mb", &o.shard_mb, "N", "MiB in a shard at most, if a batch is not larger")
      ->limits(between(1, 1 << 20));
  set.add("lease_seconds", &o.lease_seconds, "S",
          "what a job has claimed is anyone's after so long without a sign of life from it; its file is "
          "touched six "
          "times as often")
      ->limits(between(0.5, 86400));
  return cache_dir;
}

}  // namespace wandistill::cli
