// `wandistill train`: a teacher distilled into a student.
#include "src/cli/data_folder.h"
#include "src/cli/subcommands.h"
#include "src/cli/usage_error.h"

namespace wandistill::cli {
namespace {

std::string about(const std::filesystem::path& data) {
  std::string text =
      "Distils a Wan text-to-video teacher into a small text-to-image student. With several ranks:\n"
      "mpirun -n N wandistill train ... By default the embedded teacher is distilled on embedded prompts.";
  if (!data.empty()) text += "\nDATA is what comes with the program: " + data.string();
  return text;
}

void declare_data(OptionSet& set, TrainOptions& o) {
  set.group("Data and output");
  set.add("student_config", &o.student_config, "FILE", "sizes of the student, JSON")
      ->help_default("DATA/student_tiny.json");
  set.add("data_path", &o.data_path, "FILE", "prompts, one per line, UTF-8")
      ->help_default("DATA/prompts_shapes.txt");
  set.add("output_dir", &o.output_dir, "DIR",
          "receives checkpoints, samples, metrics and the student; required");
  set.add("validation_fraction", &o.validation_fraction, "F",
          "part of the prompts that is held out of training")
      ->limits(between(0, 0.9));
}

void declare_training(OptionSet& set, TrainOptions& o) {
  set.group("Training");
  set.add("init", &o.init, "",
          "start: the teacher's weights selected, projected on principal directions, or noise")
      ->choices({"slice", "pca", "random"});
  set.add("num_epochs", &o.num_epochs, "N", "passes over the cache")->limits(at_least(1));
  set.add("num_steps", &o.num_steps, "N", "optimizer steps at most (default: no limit)")
      ->limits(at_least(0))
      ->unset_means("no limit");
  set.add("max_minutes", &o.max_minutes, "M",
          "training time at most, which the schedule follows (default: no limit)")
      ->limits(at_least(0))
      ->unset_means("no limit");
  set.add("batch_size", &o.batch_size, "N", "samples per optimizer step, all ranks together")
      ->limits(at_least(1));
  set.add("micro_batch", &o.micro_batch, "N",
          "samples of a rank per forward pass, less needs less memory (default: its whole share)")
      ->limits(at_least(0))
      ->unset_means("the whole share of a rank");
  set.add("gradient_checkpointing", &o.gradient_checkpointing,
          "recompute activations in the backward pass: less memory, more time");
  set.add("lr", &o.lr, "X", "highest learning rate")->limits(at_least(0));
  set.add("warmup_steps", &o.warmup_steps, "N", "steps in which the learning rate rises")
      ->limits(at_least(0));
  set.add("min_lr_ratio", &o.min_lr_ratio, "R", "last learning rate / highest, at the end of the cosine")
      ->limits(between(0, 1));
  set.add("weight_decay", &o.weight_decay, "X", "of AdamW")->limits(at_least(0));
  set.add("beta1", &o.beta1, "X", "of AdamW")->limits(between(0, 0.999999));
  set.add("beta2", &o.beta2, "X", "of AdamW")->limits(between(0, 0.999999));
  set.add("adam_eps", &o.adam_eps, "X", "of AdamW")->limits(between(1e-30, 1));
  set.add("clip", &o.clip, "X", "largest norm of the whole gradient; 0: not clipped")->limits(at_least(0));
  set.add("ema_decay", &o.ema_decay, "X", "of the averaged weights, which are sampled and exported")
      ->limits(between(0, 0.999999999));
  set.add("zero", &o.zero, "0|1",
          "1: each rank keeps its part alone of moments, average and float32 weights, for less memory; "
          "checkpoints are the same")
      ->limits(between(0, 1));
  set.add("sigma_weighting", &o.sigma_weighting, "",
          "squared error as it is, or relative to the teacher's at that sigma")
      ->choices({"uniform", "relative"});
  set.add("renoise_weight", &o.renoise_weight, "X",
          "weight of a second loss, on the teacher's x0 noised anew")
      ->limits(at_least(0));
  set.add("max_nonfinite", &o.max_nonfinite, "N",
          "skipped updates in a row (loss or gradient not finite) that end the run")
      ->limits(at_least(1));
  set.add("seed", &o.seed, "S", "of everything random in the run but the sample pictures");
}

void declare_samples(OptionSet& set, TrainOptions& o) {
  set.group("Sample pictures");
  set.add("save_samples", &o.save_samples, "every rank draws its share of the sample prompts between epochs");
  set.add("sample_prompts", &o.sample_prompts, "TEXT",
          "the prompts, each in quotes (default: the first 4 of the data)")
      ->unset_means("the first 4 of the data");
  set.add("sample_interval", &o.sample_interval, "N", "epochs between pictures")->limits(at_least(1));
  set.add("sample_steps", &o.sample_steps, "N", "DDIM steps")->limits(at_least(1));
  set.add("sample_seed", &o.sample_seed, "S", "of the pictures' noise");
  set.add("sample_seed_per_epoch", &o.sample_seed_per_epoch, "other noise every epoch: seed + epoch");
  set.add("strict_samples", &o.strict_samples,
          "a picture that cannot be drawn ends the run with exit code 3 (else it is reported)");
  set.add("sample_dir", &o.sample_dir, "DIR", "where they go (default: OUTPUT_DIR/samples)")
      ->unset_means("output_dir/samples");
  declare_pictures(set, o.pictures);
}

void declare_run(OptionSet& set, TrainOptions& o) {
  set.group("Run");
  set.add(
      "dry_run", &o.dry_run,
      "say what the run will take and check files, sizes, disk, memory and devices for it; writes nothing, "
      "exit code 1 if something is wrong");
  declare_device(set, &o.device);
  declare_compute_dtype(set, &o.compute_dtype);
  set.add("student_dtype", &o.student_dtype, "",
          "of the student's weights and activations on a GPU, and of its products on the CPU, beside float32 "
          "masters")
      ->choices({"float32", "bfloat16"});
  declare_time_margin(set, &o.time_margin);
  set.add("distributed", &o.distributed,
          "accepted and without effect: a run is distributed over the ranks that mpirun or srun starts, the "
          "world size is MPI's");
  set.add("checkpoint_interval", &o.checkpoint_interval, "N", "epochs between checkpoints")
      ->limits(at_least(1));
  set.add("keep_checkpoints", &o.keep_checkpoints, "N", "how many of the newest are kept")
      ->limits(at_least(1));
  set.add("keep_every", &o.keep_every, "N",
          "those of every N-th epoch are written and kept besides; 0 is none of them")
      ->limits(at_least(0));
  set.add("resume", &o.resume, "auto|none|FILE",
          "go on from the newest checkpoint in OUTPUT_DIR, start anew, or from this one");
}

}  // namespace

void declare_train(OptionSet& set, TrainOptions& options, const std::filesystem::path& data) {
  options.teacher.teacher_path = embedded(data, "tiny-wan");
  options.student_config = embedded(data, "student_tiny.json");
  options.data_path = embedded(data, "prompts_shapes.txt");
  declare_data(set, options);
  declare_teacher(set, options.teacher);
  declare_cache(set, options.cache,
                "the teacher's trajectories; reused where they fit (default: OUTPUT_DIR/cache)")
      ->unset_means("output_dir/cache");
  declare_training(set, options);
  declare_samples(set, options);
  declare_run(set, options);
}

TrainLine::TrainLine(const std::filesystem::path& data)
    : set("train --output_dir DIR [options]", about(data)) {
  declare_train(set, options, data);
}

bool TrainLine::parse(const std::vector<std::string>& arguments) {
  if (!set.parse(arguments)) return false;
  apply_compute_dtype(options.compute_dtype, {{"teacher_dtype", &options.teacher.teacher_dtype},
                                              {"student_dtype", &options.student_dtype}});
  require_option("output_dir", options.output_dir);
  require_option("teacher_path", options.teacher.teacher_path);
  require_option("student_config", options.student_config);
  require_option("data_path", options.data_path);
  return true;
}

Prepared prepare_train(const std::vector<std::string>& arguments) {
  TrainLine line(find_data_folder());
  if (!line.parse(arguments)) return {line.set.help(), nullptr};
  const auto run = [options = line.options, listing = line.set.listing(),
                    config = line.set.effective_config()](Session& session) {
    print_opening(session, "train", listing);
    return run_train(session, options, config);
  };
  return {"", run};
}

}  // namespace wandistill::cli
