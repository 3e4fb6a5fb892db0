#include <algorithm>
#include <cmath>

#include "wandistill/component_tensors.h"
#include "wandistill/compute.h"
#include "wandistill/error.h"
#include "wandistill/model_folder.h"
#include "wandistill/pipeline.h"
#include "wandistill/plan.h"
#include "wandistill/text_cleaning.h"

namespace wandistill {
namespace fs = std::filesystem;

namespace {

PlanInput of_teacher(Pipeline& teacher, const TrainOptions& options, int64_t height, int64_t width) {
  teacher.set_schedule(options.teacher.flow_shift, options.teacher.boundary_ratio);  // does it fit,
  teacher.latent_size(height, width);                                                // and this?
  PlanInput input;
  input.folder = teacher.folder();
  input.teacher = teacher.transformer().config();
  input.experts = teacher.two_experts() ? 2 : 1;
  input.text_encoder = Umt5Config::load(input.folder / "text_encoder");
  input.vae = teacher.vae_config();
  input.vae_parameters = parameter_count(vae_decoder_tensors(input.vae)) +
                         parameter_count(vae_other_tensors(input.folder / "vae"));
  input.height = height;
  input.width = width;
  input.options = options;
  return input;
}

}  // namespace

PlanInput PlanInput::load(const TrainOptions& options, int64_t image_size) {
  const Compute compute = Queue{1};
  Pipeline teacher(options.teacher.teacher_path, compute);
  StudentConfig student = StudentConfig::load(options.student_config);
  if (image_size > 0) student.image_height = student.image_width = image_size;
  student.check_against_teacher(teacher.transformer().config().text_dim, teacher.vae_config().z_dim,
                                teacher.vae_config().scale());
  PlanInput input = of_teacher(teacher, options, student.image_height, student.image_width);
  input.student = student.to_wan_config();
  return input;
}

PlanInput PlanInput::load_cache(const TrainOptions& options, int64_t image_size) {
  const Compute compute = Queue{1};
  Pipeline teacher(options.teacher.teacher_path, compute);
  int64_t height = image_size, width = image_size;
  if (image_size == 0) {
    const StudentConfig student = StudentConfig::load(options.student_config);
    height = student.image_height;
    width = student.image_width;
  }
  PlanInput input = of_teacher(teacher, options, height, width);
  input.with_student = false;
  return input;
}

Dtype PlanInput::element(const std::string& dtype) const {
  return machine.on_gpu() && dtype == "bfloat16" ? Dtype::kBfloat16 : Dtype::kFloat32;
}

int64_t PlanInput::training_trajectories() const {
  const int64_t held_out = std::min<int64_t>(
      int64_t(std::ceil(options.validation_fraction * double(prompts.count))), prompts.count - 1);
  return (prompts.count - held_out) * options.cache.repetitions;
}

PromptFacts count_prompts(const fs::path& folder, const std::vector<std::string>& prompts,
                          const std::string& negative_prompt) {
  PromptFacts facts{.count = int64_t(prompts.size())};
  if (!fs::exists(folder / "tokenizer")) return facts;
  const Tokenizer tokenizer(folder / "tokenizer");
  const auto tokens = [&](const std::string& prompt) {
    return int64_t(tokenizer.encode(clean_prompt(prompt), kTextPositions).size());
  };
  facts.negative = tokens(negative_prompt);
  facts.longest = 0;
  int64_t all = 0;
  for (const std::string& prompt : prompts) {
    const int64_t n = tokens(prompt);
    facts.longest = std::max(facts.longest, n);
    all += n;
  }
  facts.mean = double(all) / double(std::max<int64_t>(1, facts.count));
  facts.counted = true;
  return facts;
}

}  // namespace wandistill
