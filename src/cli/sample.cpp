// `wandistill sample`: pictures from a teacher or a student.
#include "src/cli/subcommands.h"
#include "src/cli/usage_error.h"

namespace wandistill::cli {

SampleLine::SampleLine()
    : set("sample --model DIR --prompt TEXT ... --out DIR [options]",
          "Draws one PNG per prompt with a teacher or a student. With several ranks (mpirun -n N wandistill\n"
          "sample ...) the prompts are dealt over them; the pictures are the same for any number of ranks.") {
  SampleOptions& o = options;
  set.group("What to draw");
  set.add("model", &o.model, "DIR",
          "a teacher's or student's folder in the diffusers layout, or its name in the local "
          "Hugging Face cache; required");
  set.add("prompt", &o.prompts, "TEXT", "the prompts, each in quotes");
  set.add("prompt_file", &o.prompt_file, "FILE", "instead: prompts, one per line, UTF-8");
  set.add("negative_prompt", &o.negative_prompt, "TEXT",
          "what guidance leads away from (default: the empty prompt)");
  set.add("out", &o.out, "DIR", "where the pictures go; required");
  set.add("image_size", &image_size, "N", "height and width in pixels (default: as the model's folder says)")
      ->limits(at_least(1))
      ->unset_means("see height and width");
  set.add("height", &o.height, "N", "in pixels")
      ->limits(at_least(1))
      ->unset_means("as the model's folder says");
  set.add("width", &o.width, "N", "in pixels")
      ->limits(at_least(1))
      ->unset_means("as the model's folder says");

  set.group("How to draw");
  set.add("steps", &o.steps, "N", "denoising steps")->limits(at_least(1));
  set.add("sampler", &o.sampler, "", "deterministic DDIM, or UniPC as diffusers has it")
      ->choices({"ddim", "unipc"});
  set.add("guidance", &o.guidance, "G",
          "guidance, 1 is none; of the high-noise expert where there are two (default: 4 for "
          "a teacher, 1 for a student)")
      ->limits(at_least(0))
      ->unset_means("4 for a teacher, 1 for a student");
  set.add("guidance_2", &o.guidance_2, "G",
          "of the low-noise expert (default: as --guidance; 3 where that is not given)")
      ->limits(at_least(0))
      ->unset_means("3 for a teacher, or as guidance where that is given");
  declare_schedule(set, &o.flow_shift, &o.boundary_ratio);
  set.add("seed", &o.seed, "S", "of the noise; with the prompt's index it decides the picture");
  set.add("noise", &o.noise, "FILE.h5:NAME",
          "start from this dataset, [C,1,h,w] or one per prompt [n,C,1,h,w]");
  set.add("save_latents", &o.save_latents, "FILE.h5", "write the final latents too");

  set.group("Run");
  set.add("dry_run", &o.dry_run,
          "check files, sizes, disk and devices for this; writes nothing, exit code 1 if something is wrong");
  declare_pictures(set, o.pictures);
  declare_device(set, &o.device);
  declare_time_margin(set, &o.time_margin);
  declare_compute_dtype(set, &o.compute_dtype);
  set.add("dtype", &o.dtype, "", "for computing on a GPU, and of the transformers' products on the CPU")
      ->choices({"float32", "bfloat16"});
}

bool SampleLine::parse(const std::vector<std::string>& arguments) {
  if (!set.parse(arguments)) return false;
  apply_compute_dtype(options.compute_dtype, {{"dtype", &options.dtype}});
  require_option("model", options.model);
  require_option("out", options.out);
  if (options.prompts.empty() && options.prompt_file.empty())
    usage_error("give --prompt TEXT ... or --prompt_file FILE");
  if (!options.prompts.empty() && !options.prompt_file.empty())
    usage_error("--prompt and --prompt_file are both given; one of them says what to draw");
  if (image_size > 0) {
    for (int64_t* side : {&options.height, &options.width}) {
      if (*side != 0 && *side != image_size)
        usage_error("--image_size ", image_size, " contradicts --height or --width ", *side);
      *side = image_size;
    }
  }
  if ((options.height == 0) != (options.width == 0))
    usage_error("--height and --width go together; or give --image_size");
  return true;
}

Prepared prepare_sample(const std::vector<std::string>& arguments) {
  SampleLine line;
  if (!line.parse(arguments)) return {line.set.help(), nullptr};
  const auto run = [options = line.options, listing = line.set.listing()](Session& session) {
    print_opening(session, "sample", listing);
    return run_sample(session, options);
  };
  return {"", run};
}

}  // namespace wandistill::cli
