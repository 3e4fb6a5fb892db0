// What a job will take: parameters, memory by stage, work, files and time, from configs and options alone.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "wandistill/json.h"
#include "wandistill/machine.h"
#include "wandistill/options.h"
#include "wandistill/student_config.h"
#include "wandistill/teacher_placement.h"
#include "wandistill/umt5_config.h"
#include "wandistill/wan_config.h"
#include "wandistill/wan_vae.h"

namespace wandistill {

/// The prompts of a job, in tokens with the final </s>.
struct PromptFacts {
  int64_t count = 0;
  int64_t longest = kTextPositions;
  double mean = kTextPositions;
  int64_t negative = 1;  // of the negative prompt
  bool counted = false;  // with the teacher's tokenizer; else the longest there can be
};

/// What a plan depends on.
struct PlanInput {
  std::filesystem::path folder;  // the teacher's
  WanConfig teacher;
  int64_t experts = 1;
  Umt5Config text_encoder{};
  WanVaeConfig vae{};
  int64_t vae_parameters = 0;     // encoder and temporal layers among them
  WanConfig student;              // if with_student
  bool with_student = true;       // false: the job is `wandistill cache`, which ends with the trajectories
  int64_t height = 0, width = 0;  // pixels
  PromptFacts prompts;
  TrainOptions options;
  TeacherPlacement placement = TeacherPlacement::kAuto;
  Machine machine;

  /// Reads the teacher's configs, none of its weights, and checks that the student fits. image_size: in place
  /// of the student config's; 0: as that says.
  static PlanInput load(const TrainOptions& options, int64_t image_size);
  /// Of `wandistill cache`; where image_size is given, no student config is read.
  static PlanInput load_cache(const TrainOptions& options, int64_t image_size);

  int64_t latent_height() const { return height / vae.scale(); }
  int64_t latent_width() const { return width / vae.scale(); }
  /// Where the ranks compute, in the element types that they get there.
  Dtype element(const std::string& dtype) const;
  TeacherSizes experts_sizes() const { return {teacher, experts, element(options.teacher.teacher_dtype)}; }
  int64_t training_trajectories() const;
  int64_t trajectories() const { return prompts.count * options.cache.repetitions; }
};

/// The facts of these prompts. A folder without tokenizer leaves their lengths uncounted.
PromptFacts count_prompts(const std::filesystem::path& folder, const std::vector<std::string>& prompts,
                          const std::string& negative_prompt);

/// The stages of a run, in their order.
enum class Stage { kText, kTrajectories, kStart, kTraining, kPictures, kSaving };
/// "teacher trajectories", ...
const char* stage_name(Stage stage);

/// Bytes at a stage's peak.
struct StageMemory {
  Stage stage{};
  // Of a rank, where it computes (GPU or host):
  int64_t weights = 0;      // models, and in training gradients, moments and average
  int64_t activations = 0;  // and buffers
  // Of a rank on a GPU, in the host's memory:
  int64_t host = 0;
  // Of all ranks of a node together, in the host's memory:
  int64_t shared = 0;

  int64_t computing() const { return weights + activations; }
};

/// Bytes beside those of the stages: on a GPU the CUDA context, the kernels, cuBLAS and NCCL, an assumption;
/// on the host the program with MPI, measured (without its code, which ranks share).
inline constexpr int64_t kGpuReserve = 1'000'000'000;
inline constexpr int64_t kProgramBytes = 20'000'000;

/// Every stage of the job in its order. placement is not kAuto.
std::vector<StageMemory> plan_memory(const PlanInput& input, TeacherPlacement placement);

/// For the log of a run that starts, one line: what a rank's GPU (or, on the CPU, memory) holds in every
/// stage, of what, and how much is free.
std::string memory_line(const PlanInput& input, TeacherPlacement placement);

/// Latent rows that the VAE decodes at once between epochs.
int64_t planned_tile_rows(const PlanInput& input);

/// kAuto made one of the others by the memory that is left beside the trajectories' activations; kHost where
/// the ranks compute on the CPU.
TeacherPlacement chosen_placement(const PlanInput& input);

/// One choice of where the experts are.
struct PlacementPlan {
  TeacherPlacement placement;
  int64_t gpu = 0;     // bytes of a rank at the trajectories' peak, reserve included
  int64_t host = 0;    // bytes of a node for the experts
  double seconds = 0;  // per trajectory and rank
  bool fits = true;
};

/// FLOPs (flops.h).
struct Work {
  double expert_forward = 0;       // of the longest prompt
  double trajectory = 0;           // mean prompt, guided
  double text_encoding = 0;        // mean prompt
  double student_forward = 0;      // mean prompt
  double training_sample = 0;      // forward and backward
  double checkpointed_sample = 0;  // with gradient checkpointing
  double student_picture = 0;      // all denoising steps
  double decode = 0;               // of one picture
  int64_t tile_rows = 0;           // that this decode works on at once
};

/// Bytes.
struct PlanFiles {
  int64_t cache_trajectory = 0, cache = 0;
  int64_t checkpoint = 0, checkpoints = 0;  // one; all that are there at a time
  int64_t student = 0;                      // the exported folder, at most
  int64_t pictures = 0;                     // at most
};

struct StageTime {
  Stage stage{};
  double seconds = 0;  // of the whole job with all its ranks
};

/// Something that is larger than the machine has room for.
struct Misfit {
  std::vector<Stage> stages;
  std::string where;  // "a rank's GPU", "a node's memory"
  int64_t needed = 0, available = 0;
  std::string remedy;  // the options, or what else would make it fit
};

struct Plan {
  PlanInput input;
  TeacherPlacement placement{};
  int64_t expert_parameters = 0, text_encoder_parameters = 0, student_parameters = 0;
  std::vector<StageMemory> memory{};
  std::vector<PlacementPlan> placements{};  // on a GPU
  Work work{};
  PlanFiles files{};
  int64_t training_samples = 0, steps = 0;  // per epoch; in all
  std::vector<StageTime> time{};
  std::vector<Misfit> misfits{};
  /// Where only the CPU has room for the experts: the options with which the GPU has.
  std::string faster_placement{};
};

Plan make_plan(const PlanInput& input);

/// A page of at most 100 columns.
std::string plan_text(const Plan& plan);
Json plan_json(const Plan& plan);

}  // namespace wandistill
