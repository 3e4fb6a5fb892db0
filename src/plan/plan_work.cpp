// Work, files and time.
#include <algorithm>
#include <cmath>

#include "src/plan/plan_parts.h"
#include "wandistill/component_tensors.h"
#include "wandistill/flops.h"
#include "wandistill/job_sizes.h"

namespace wandistill {
namespace {

int64_t mean_tokens(const PlanInput& in) {
  return std::llround(in.prompts.mean);
}

int64_t share(int64_t count, int64_t ranks) {
  return (count + ranks - 1) / ranks;
}

int64_t sample_prompts(const PlanInput& in) {
  return in.options.sample_prompts.empty() ? std::min(kDefaultSamplePrompts, in.prompts.count)
                                           : int64_t(in.options.sample_prompts.size());
}

/// Epochs of the job, the last one perhaps cut short.
int64_t epochs(const PlanInput& in) {
  const int64_t steps_each = share(samples_per_epoch(in), in.options.batch_size);
  return share(training_steps(in), steps_each);
}

/// Rounds of the student's pictures: of its start, between epochs, and at the end.
int64_t rounds(const PlanInput& in) {
  return 1 + share(epochs(in), in.options.sample_interval);
}

}  // namespace

Work plan_work(const PlanInput& in) {
  const TrainOptions& o = in.options;
  const int64_t h = in.latent_height(), w = in.latent_width(), mean = text_rows(mean_tokens(in));
  const int64_t N = in.teacher.tokens(h, w);
  Work work;
  work.expert_forward = wan_forward_flops(in.teacher, N, text_rows(in.prompts.longest));
  double step = wan_forward_flops(in.teacher, N, mean);
  if (o.teacher.guidance > 1) step += wan_forward_flops(in.teacher, N, text_rows(in.prompts.negative));
  work.trajectory = double(o.teacher.teacher_steps) * step;
  work.text_encoding = umt5_flops(in.text_encoder, mean_tokens(in));
  if (!in.with_student) return work;
  const int64_t n = in.student.tokens(h, w);
  work.student_forward = wan_forward_flops(in.student, n, mean);
  work.training_sample = wan_training_flops(in.student, n, mean, false);
  work.checkpointed_sample = wan_training_flops(in.student, n, mean, true);
  work.student_picture = double(o.sample_steps) * work.student_forward;
  work.tile_rows = planned_tile_rows(in);
  work.decode = vae_decode_flops(in.vae, h, w, work.tile_rows);
  return work;
}

PlanFiles plan_files(const PlanInput& in) {
  constexpr int64_t kFloat = sizeof(float);
  const TrainOptions& o = in.options;
  const int64_t picture = in.vae.z_dim * in.latent_height() * in.latent_width();
  PlanFiles files;
  // Latents and velocity at every point, x0, and the prompt's embedding.
  files.cache_trajectory = stored_cache_bytes(in) * (2 * o.teacher.teacher_steps + 1) * picture +
                           kFloat * std::llround(in.prompts.mean * double(in.text_encoder.d_model));
  files.cache = in.trajectories() * files.cache_trajectory;
  if (!in.with_student) return files;
  const int64_t student = ParameterLayout(in.student).total();
  // HDF5 adds about 2.8 kB to every tensor (measured).
  files.checkpoint = 4 * (student * kFloat + int64_t(transformer_tensors(in.student).size()) * 2800);
  files.checkpoints = (o.keep_checkpoints + 2) * files.checkpoint;  // the best, and one being written
  // Text encoder, tokenizer and VAE are copied where they are small, linked else.
  const int64_t shared = kFloat * (parameter_count(umt5_tensors(in.text_encoder)) + in.vae_parameters);
  files.student = student * kFloat + (shared < kCopyBelow ? shared : 0);
  if (o.save_samples)
    files.pictures = (rounds(in) + 1) * sample_prompts(in) * 3 * in.height * in.width;  // uncompressed
  return files;
}

int64_t stored_cache_bytes(const PlanInput& in) {
  const std::string& dtype = in.options.cache.cache_dtype;
  return dtype == "auto" || dtype == "float32" ? 4 : 2;  // "auto" is float32 in a new folder
}

int64_t samples_per_epoch(const PlanInput& in) {
  return in.training_trajectories() * in.options.teacher.teacher_steps;
}

int64_t training_steps(const PlanInput& in) {
  const int64_t steps = in.options.num_epochs * share(samples_per_epoch(in), in.options.batch_size);
  return in.options.num_steps > 0 ? std::min(steps, in.options.num_steps) : steps;
}

double trajectory_seconds(const PlanInput& in, TeacherPlacement placement, double flops) {
  const Machine& m = in.machine;
  if (placement == TeacherPlacement::kHost) return flops / m.cpu;
  const TeacherSizes sizes = in.experts_sizes();
  const double computing = flops / (sizes.dtype == Dtype::kBfloat16 ? m.bf16 : m.float32);
  const double batch = double(std::min(in.options.cache.teacher_batch, in.trajectories()));
  if (placement == TeacherPlacement::kStream)  // the transfer is hidden, or hides the computing
    return std::max(computing, double(in.options.teacher.teacher_steps) *
                                   double(sizes.streamed_bytes(placement)) / m.link / batch);
  if (placement == TeacherPlacement::kExpert)  // each expert comes once for every batch
    return computing + double(in.experts) * double(sizes.gpu_bytes(placement)) / m.link / batch;
  return computing;
}

std::vector<StageTime> plan_time(const PlanInput& in, TeacherPlacement placement, const Work& work) {
  const TrainOptions& o = in.options;
  const Machine& m = in.machine;
  const auto rate = [&](const std::string& dtype) {
    return in.element(dtype) == Dtype::kBfloat16 ? m.bf16 : m.float32;
  };
  const int64_t W = m.world_size;
  std::vector<StageTime> time;
  time.push_back({Stage::kText, double(share(in.prompts.count * o.cache.repetitions, W)) *
                                    work.text_encoding / rate(o.teacher.teacher_dtype)});
  time.push_back({Stage::kTrajectories,
                  double(share(in.trajectories(), W)) * trajectory_seconds(in, placement, work.trajectory)});
  if (!in.with_student) return time;
  if (o.init != "random") {  // conditional forwards on the CPU, the same on every rank
    const int64_t N = in.teacher.tokens(in.latent_height(), in.latent_width());
    const double points = double(std::min(kCalibrationPoints, samples_per_epoch(in)));
    time.push_back(
        {Stage::kStart, 1.1 * points * wan_forward_flops(in.teacher, N, text_rows(mean_tokens(in))) / m.cpu});
  }
  const double student = rate(o.student_dtype);
  const double sample = o.gradient_checkpointing ? work.checkpointed_sample : work.training_sample;
  const double samples = double(training_steps(in)) * double(share(o.batch_size, W));
  const double held_out = double((in.trajectories() - in.training_trajectories()) * o.teacher.teacher_steps);
  double training =
      (samples * sample + double(epochs(in)) * held_out / double(W) * work.student_forward) / student;
  if (o.max_minutes > 0) training = std::min(training, 60 * o.max_minutes);
  time.push_back({Stage::kTraining, training});
  if (o.save_samples) {
    const double picture = work.student_picture / student + work.decode / rate(o.pictures.vae_dtype);
    time.push_back({Stage::kPictures, double(rounds(in) * share(sample_prompts(in), W)) * picture});
  }
  return time;
}

}  // namespace wandistill
