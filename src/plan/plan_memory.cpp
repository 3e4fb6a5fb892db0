// Follows what src/train, src/teacher and src/sample allocate, stage by stage.
#include <algorithm>

#include "src/model/wan_vae_stages.h"
#include "src/plan/plan_parts.h"
#include "src/sample/round_limits.h"
#include "wandistill/component_tensors.h"
#include "wandistill/converted_weights.h"
#include "wandistill/device_gradient_buckets.h"
#include "wandistill/flops.h"
#include "wandistill/gradient_buckets.h"
#include "wandistill/job_sizes.h"
#include "wandistill/plan.h"
#include "wandistill/shard.h"
#include "wandistill/wan_transformer.h"

namespace wandistill {
namespace {

constexpr int64_t kFloat = sizeof(float);
/// Bytes from which on what is freed goes back to the system (main.cpp).
constexpr int64_t kReturned = int64_t{1} << 30;

int64_t bytes_of(Dtype dtype) {
  return dtype == Dtype::kBfloat16 ? 2 : 4;
}

int64_t student_parameters(const PlanInput& in) {
  return in.with_student ? ParameterLayout(in.student).total() : 0;
}

/// Whose optimizer state the last rank keeps, which has most.
int64_t kept_parameters(const PlanInput& in) {
  if (!in.with_student) return 0;
  const ParameterLayout layout(in.student);
  const int W = static_cast<int>(in.machine.world_size);
  if (in.options.zero == 0 || W == 1) return layout.total();
  return Shard(layout.gradient_order(), in.machine.on_gpu() ? kDeviceBucketBytes : kBucketBytes, W, W - 1)
      .size();
}

class Memory {
 public:
  Memory(const PlanInput& input, TeacherPlacement placement)
      : in_(input),
        o_(input.options),
        placement_(placement),
        h_(input.latent_height()),
        w_(input.latent_width()),
        picture_(input.vae.z_dim * h_ * w_),
        rows_(text_rows(input.prompts.longest)),
        student_(student_parameters(input)),
        kept_(kept_parameters(input)),
        teacher_type_(input.element(o_.teacher.teacher_dtype)),
        student_type_(input.element(o_.student_dtype)),
        vae_element_(bytes_of(input.element(o_.pictures.vae_dtype))) {}

  std::vector<StageMemory> all() const {
    std::vector<StageMemory> stages;
    stages.push_back(text());
    stages.push_back(trajectories());
    if (!in_.with_student) return stages;
    stages.push_back(student_start());
    stages.push_back(training());
    if (o_.save_samples) stages.push_back(pictures());
    stages.push_back(saving());
    return stages;
  }

  int64_t tile_rows() const { return tile_rows(WanVaeWeights(in_.vae), free_bytes(training()) / 2); }

  StageMemory trajectories() const {
    StageMemory stage = with_experts();
    stage.stage = Stage::kTrajectories;
    const int64_t B = std::min(o_.cache.teacher_batch, in_.trajectories());
    const int64_t passes = o_.teacher.guidance > 1 ? 2 : 1;
    const int64_t rows = B * (rows_ + (passes - 1) * text_rows(in_.prompts.negative));
    const bool on_cpu = placement_ == TeacherPlacement::kHost;
    const int64_t network =
        WanActivations::bytes(in_.teacher, Keep::kNothing, passes * B, in_.teacher.tokens(h_, w_), rows,
                              on_cpu ? Dtype::kFloat32 : teacher_type_);
    // Of a batch: what goes into the network and comes out, x, and UniPC's last two x0, x and velocity.
    const int64_t batches = experts_change_places() ? kBatchesPerExpert : 1;
    const int64_t states = batches * (o_.teacher.teacher_sampler == "unipc" ? 5 : 1);
    const int64_t latents = (2 * passes + states) * B * picture_ * kFloat;
    // The trajectories of a shard, or those computed together, in float32.
    const int64_t numbers = (2 * o_.teacher.teacher_steps + 1) * picture_;
    const int64_t in_shard =
        std::min(kMostRecords, (o_.cache.shard_mb << 20) / (numbers * stored_cache_bytes(in_)));
    const int64_t own =
        (in_.trajectories() + in_.machine.world_size - 1) / std::max<int64_t>(1, in_.machine.world_size);
    const int64_t shard = numbers * kFloat * std::min(own, std::max(batches * B, in_shard));
    const bool apart = in_.machine.on_gpu() && on_cpu;
    if (!apart) stage.activations += network + latents;
    in_host(stage, shard + (apart ? network + latents : 0));
    return stage;
  }

 private:
  /// As Pipeline::experts_change_places().
  bool experts_change_places() const {
    if (in_.experts == 1) return false;
    if (placement_ == TeacherPlacement::kExpert) return true;
    return placement_ == TeacherPlacement::kHost && in_.machine.host_bytes > 0 &&
           in_.experts_sizes().host_bytes(placement_) > in_.machine.host_bytes;
  }

  /// Bytes in the host's memory of a rank.
  void in_host(StageMemory& stage, int64_t bytes) const {
    (in_.machine.on_gpu() ? stage.host : stage.activations) += bytes;
  }

  /// The decoder is there from the start where pictures are drawn.
  StageMemory beside_pictures(StageMemory stage) const {
    if (o_.save_samples) stage.weights += parameter_count_of_decoder() * vae_element_;
    return stage;
  }

  int64_t parameter_count_of_decoder() const {
    int64_t count = 0;  // one temporal tap is kept of each convolution
    for (const TensorSpec& tensor : vae_decoder_tensors(in_.vae)) {
      const int64_t taps = tensor.shape.size() == 5 ? tensor.shape[2] : 1;
      count += element_count(tensor.shape) / taps;
    }
    return count;
  }

  /// The token embeddings stay in the file.
  int64_t encoder_weights() const {
    const Umt5Config& c = in_.text_encoder;
    return (parameter_count(umt5_tensors(c)) - c.vocab_size * c.d_model) * bytes_of(teacher_type_);
  }
  int64_t encoder_activations() const {
    const Umt5Config& c = in_.text_encoder;
    const int64_t n = in_.prompts.longest, inner = c.heads * c.d_kv;
    return kFloat * (n * c.d_model + c.heads * (2 * n - 1)) +
           bytes_of(teacher_type_) * n * (2 * c.d_model + 4 * inner + 2 * c.d_ff);
  }

  /// On the CPU the ranks of a node share its weights.
  StageMemory text() const {
    StageMemory stage = beside_pictures({.stage = Stage::kText, .activations = encoder_activations()});
    (in_.machine.on_gpu() ? stage.weights : stage.shared) += encoder_weights();
    return stage;
  }

  StageMemory with_experts() const {
    StageMemory stage = beside_pictures({});
    const TeacherSizes sizes = in_.experts_sizes();
    stage.weights += sizes.gpu_bytes(placement_);
    stage.shared += sizes.host_bytes(placement_);
    if (placement_ == TeacherPlacement::kHost && o_.teacher.teacher_dtype != "float32")
      in_host(stage, std::min(kMostConverted,
                              in_.experts * ParameterLayout(in_.teacher).total() * int64_t(sizeof(bf16))));
    return stage;
  }

  /// The student is made on the host from float32 weights of one expert.
  StageMemory student_start() const {
    StageMemory stage = with_experts();
    stage.stage = Stage::kStart;
    const int64_t C = in_.teacher.hidden(), tokens = in_.teacher.tokens(h_, w_);
    const int64_t expert = ParameterLayout(in_.teacher).total() * kFloat;
    int64_t work = kCalibrationPoints * picture_ * kFloat;
    if (o_.init != "random")
      work += kFloat * tokens * (10 * C + 2 * in_.teacher.ffn_dim) + 5 * C * C * int64_t(sizeof(double));
    const int64_t state = (kept_ == student_ ? 4 * student_ : student_ + 4 * kept_) * kFloat;
    // Where they compute on the CPU it is one of those, else it is shared like them.
    if (placement_ != TeacherPlacement::kHost && o_.init != "random") stage.shared += expert;
    if (in_.machine.on_gpu()) {
      stage.host += state + work;
      return stage;
    }
    // What the trajectories' passes have freed stays with the process (main.cpp).
    const int64_t freed = trajectories().activations < kReturned ? trajectories().activations : 0;
    stage.activations += std::max(freed, state + work);
    return stage;
  }

  /// Samples of a rank in a step.
  int64_t share() const {
    const int64_t batch = std::min(o_.batch_size, samples_per_epoch(in_));
    return (batch + in_.machine.world_size - 1) / in_.machine.world_size;
  }

  int64_t student_activations(Keep keep, int64_t samples) const {
    return WanActivations::bytes(in_.student, keep, samples, in_.student.tokens(h_, w_), samples * rows_,
                                 student_type_);
  }

  /// What a trainer holds from step to step: the models, and the activations and the batch of a pass.
  StageMemory trainer() const {
    StageMemory stage = beside_pictures({});
    stage.weights += training_state_bytes(student_, kept_, student_type_ == Dtype::kBfloat16);
    if (!in_.machine.on_gpu() && o_.student_dtype == "bfloat16") stage.weights += kConvertedBytes * student_;
    stage.activations =
        student_activations(o_.gradient_checkpointing ? Keep::kBlockInputs : Keep::kAll, samples()) +
        batch(samples());
    return stage;
  }
  /// Samples of a rank's forward pass; re-noised ones are samples too.
  int64_t samples() const {
    const int64_t own = o_.micro_batch > 0 ? std::min(o_.micro_batch, share()) : share();
    return terms() * own;
  }
  /// Of the loss, each with a sample of its own.
  int64_t terms() const { return o_.renoise_weight > 0 ? 2 : 1; }
  int64_t batch(int64_t samples) const { return samples * 4 * picture_ * kFloat; }

  /// The validation's passes are made beside what the trainer holds.
  StageMemory training() const {
    StageMemory stage = trainer();
    stage.stage = Stage::kTraining;
    const int64_t W = in_.machine.world_size;
    const int64_t held_out = (in_.trajectories() - in_.training_trajectories()) * o_.teacher.teacher_steps;
    const int64_t validated = std::min(std::max<int64_t>(1, o_.batch_size / W), (held_out + W - 1) / W);
    if (validated > 0) stage.activations += student_activations(Keep::kNothing, validated) + batch(validated);
    const int64_t most = std::max(samples(), validated);
    const int64_t text = rows_ * in_.student.text_dim;
    in_host(stage, most * (2 * picture_ + 2 * text) * kFloat);
    if (in_.machine.on_gpu())
      stage.host += std::min(kMostStaged, 2 * terms() * share() * (2 * picture_ + text) * kFloat);
    return stage;
  }

  /// Beside what training took: what the validation has freed stays with the process (main.cpp).
  StageMemory pictures() const {
    StageMemory stage = training();
    stage.stage = Stage::kPictures;
    const WanVaeWeights layers(in_.vae);
    const int64_t budget = free_bytes(training()) / 2,
                  threads = in_.machine.on_gpu() ? 1 : in_.machine.threads;
    const int64_t tokens = in_.student.tokens(h_, w_);
    const int64_t at_once = o_.pictures.sample_batch
                                ? o_.pictures.sample_batch
                                : pictures_at_once(in_.student, student_type_, 1, tokens, budget);
    const int64_t prompts =
        o_.sample_prompts.empty() ? kDefaultSamplePrompts : int64_t(o_.sample_prompts.size());
    const int64_t own = (prompts + in_.machine.world_size - 1) / in_.machine.world_size;
    const int64_t rows = tile_rows(layers, budget);
    const int64_t image = 3 * in_.height * in_.width;
    stage.activations += student_activations(Keep::kNothing, std::min(at_once, own)) +
                         decode_peak_bytes(layers, h_, w_, h_, rows, int(threads), vae_element_) +
                         image * (kFloat + 1);
    in_host(stage, 2 * image);
    return stage;
  }

  int64_t tile_rows(const WanVaeWeights& layers, int64_t budget) const {
    if (o_.pictures.vae_tile_rows) return o_.pictures.vae_tile_rows;
    const int threads = in_.machine.on_gpu() ? 1 : in_.machine.threads;
    return strip_rows(layers, h_, w_, budget, threads, vae_element_);
  }

  /// Checkpoints are written from a copy in the host's memory, which is gone when the student is exported.
  StageMemory saving() const {
    StageMemory stage = training();
    stage.stage = Stage::kSaving;
    in_host(stage, 4 * student_ * kFloat);
    return stage;
  }

  /// Of a rank, beside what it holds.
  int64_t free_bytes(const StageMemory& held) const {
    const Machine& m = in_.machine;
    const int64_t room = m.on_gpu() ? m.gpu_bytes - kGpuReserve : m.host_bytes / m.ranks_per_node;
    return std::max<int64_t>(0, room - held.computing());
  }

  const PlanInput& in_;
  const TrainOptions& o_;
  TeacherPlacement placement_;
  int64_t h_, w_, picture_;  // latents; floats of one picture's
  int64_t rows_;             // of the longest prompt
  int64_t student_;          // parameters
  int64_t kept_;             // of these the rank's that keeps most
  Dtype teacher_type_, student_type_;
  int64_t vae_element_;
};

}  // namespace

const char* stage_name(Stage stage) {
  constexpr const char* kNames[] = {"text encoding", "teacher trajectories",    "student's start",
                                    "training",      "pictures between epochs", "checkpoints, export"};
  return kNames[static_cast<int>(stage)];
}

std::vector<StageMemory> plan_memory(const PlanInput& input, TeacherPlacement placement) {
  return Memory(input, placement).all();
}

int64_t planned_tile_rows(const PlanInput& input) {
  return Memory(input, TeacherPlacement::kHost).tile_rows();
}

TeacherPlacement chosen_placement(const PlanInput& input) {
  if (!input.machine.on_gpu()) return TeacherPlacement::kHost;
  if (input.placement != TeacherPlacement::kAuto) return input.placement;
  // All but the experts' weights is the same for the three placements on the GPU.
  const TeacherSizes sizes = input.experts_sizes();
  const int64_t beside = Memory(input, TeacherPlacement::kExpert).trajectories().computing() -
                         sizes.gpu_bytes(TeacherPlacement::kExpert);
  return sizes.choose(input.machine.gpu_bytes - kGpuReserve - beside);
}

}  // namespace wandistill
