#include <algorithm>

#include "src/plan/plan_parts.h"
#include "src/plan/table.h"
#include "src/plan/units.h"
#include "wandistill/error.h"
#include "wandistill/plan.h"

namespace wandistill {
namespace {

std::string plural(int64_t count, const char* noun) {
  return cat(grouped(count), " ", noun, count == 1 ? "" : "s");
}

std::string heading(const Plan& plan) {
  const PlanInput& in = plan.input;
  const Machine& m = in.machine;
  const std::string lengths =
      in.prompts.counted
          ? cat(in.prompts.longest, " tokens at most, ", int64_t(in.prompts.mean + 0.5), " on average")
          : cat(in.prompts.longest, " tokens (the most there can be: the folder has no tokenizer)");
  std::string text = cat("Plan for ", in.folder.string(), "\n", in.height, " x ", in.width, " pixels, ",
                         plural(in.prompts.count, "prompt"), " of ", lengths, "\n");
  text += plural(m.world_size, "rank");
  if (m.world_size > 1) text += cat(", ", m.ranks_per_node, " per node");
  if (m.on_gpu())
    text += cat(", each on one ", m.card, ": ", bytes_text(m.gpu_bytes), ", ", bytes_text(int64_t(m.link)),
                "/s from the host,\n", rate_text(m.bf16), " in bfloat16 and ", rate_text(m.float32),
                " in float32; of the CPU ", rate_text(m.cpu), "\n");
  else
    text +=
        cat(", on the CPU: ", plural(m.threads, "thread"), " each, ", rate_text(m.float32), " in float32\n");
  return text;
}

std::string parameters(const Plan& plan) {
  const PlanInput& in = plan.input;
  Table table({"Parameters", "number", "layers", "width", "tokens"}, "lrrrr");
  const auto tokens = [&](const WanConfig& c) {
    return grouped(c.tokens(in.latent_height(), in.latent_width()));
  };
  table.row({in.experts == 2 ? "teacher, each of two experts" : "teacher, one expert",
             grouped(plan.expert_parameters), cat(in.teacher.layers), cat(in.teacher.hidden()),
             tokens(in.teacher)});
  table.row({"text encoder", grouped(plan.text_encoder_parameters), cat(in.text_encoder.layers),
             cat(in.text_encoder.d_model), cat(in.prompts.longest)});
  table.row({"VAE", grouped(in.vae_parameters), "", "", ""});
  if (in.with_student)
    table.row({"student", grouped(plan.student_parameters), cat(in.student.layers), cat(in.student.hidden()),
               tokens(in.student)});
  return table.text();
}

std::string memory(const Plan& plan) {
  const Machine& m = plan.input.machine;
  const bool gpu = m.on_gpu();
  const int64_t program = gpu ? kGpuReserve : kProgramBytes;
  std::vector<std::string> head{gpu ? "Memory of a rank's GPU" : "Memory of a rank", "weights", "activations",
                                "all"};
  if (gpu) head.emplace_back("rank's host");
  head.emplace_back("node's host");
  Table table(head, "lrrrrr");
  for (const StageMemory& stage : plan.memory) {
    std::vector<std::string> row{stage_name(stage.stage), bytes_text(stage.weights),
                                 bytes_text(stage.activations), bytes_text(stage.computing() + program)};
    if (gpu) row.push_back(bytes_text(stage.host));
    row.push_back(bytes_text(node_bytes(plan.input, stage)));
    table.row(row);
  }
  return table.text() + cat("  \"all\" has ", bytes_text(program),
                            gpu ? " for CUDA's context, kernels, cuBLAS and NCCL (assumed)\n"
                                : " for the program and MPI\n");
}

/// "training 1.2 GB (weights, gradients, moments, average 0.9 GB, activations and batch 0.3 GB)"
std::string stage_line(const StageMemory& stage) {
  const std::string all = cat(stage_name(stage.stage), " ", bytes_text(stage.computing()));
  if (stage.weights == 0 || stage.activations == 0) return all;
  const bool trains = stage.stage == Stage::kTraining;
  return cat(all, " (weights", trains ? ", gradients, moments, average " : " ", bytes_text(stage.weights),
             ", activations", trains ? " and batch " : " ", bytes_text(stage.activations), ")");
}

std::string placements(const Plan& plan) {
  if (plan.placements.empty()) return {};
  Table table({"Where the experts are", "rank's GPU", "node's host", "a trajectory", ""}, "lrrrl");
  for (const PlacementPlan& p : plan.placements)
    table.row({cat(p.placement == plan.placement ? "* " : "  ", "--teacher_placement ",
                   teacher_placement_name(p.placement)),
               bytes_text(p.gpu), bytes_text(p.host), seconds_text(p.seconds), p.fits ? "" : "does not fit"});
  return table.text();
}

std::string work(const Plan& plan) {
  const Work& w = plan.work;
  const TrainOptions& o = plan.input.options;
  Table table({"Work (products and attention)", ""}, "lr");
  table.row({"teacher: one expert, forward, longest prompt", flops_text(w.expert_forward)});
  table.row({cat("teacher: one trajectory, ", o.teacher.teacher_steps, " steps",
                 o.teacher.guidance > 1 ? ", guided" : ""),
             flops_text(w.trajectory)});
  table.row({"text encoder: one prompt", flops_text(w.text_encoding)});
  if (!plan.input.with_student) return table.text();
  table.row({"student: a training sample, forward and backward", flops_text(w.training_sample)});
  table.row({"... with --gradient_checkpointing", flops_text(w.checkpointed_sample)});
  table.row({cat("student: a picture, ", o.sample_steps, " steps"), flops_text(w.student_picture)});
  table.row({cat("VAE: decoding a picture, ", w.tile_rows, " latent rows at a time"), flops_text(w.decode)});
  return table.text();
}

std::string files(const Plan& plan) {
  const PlanFiles& f = plan.files;
  const TrainOptions& o = plan.input.options;
  const int64_t count = plan.input.trajectories();
  Table table({"Files", "each", "all"}, "lrr");
  table.row({cat("cache: ", grouped(count), count == 1 ? " trajectory" : " trajectories", " of ",
                 o.teacher.teacher_steps, " points"),
             bytes_text(f.cache_trajectory), bytes_text(f.cache)});
  if (!plan.input.with_student) return table.text();
  table.row({cat("checkpoints: ", o.keep_checkpoints, ", the best, and one being written"),
             bytes_text(f.checkpoint), bytes_text(f.checkpoints)});
  table.row({"the student's folder, at most", "", bytes_text(f.student)});
  if (f.pictures > 0) table.row({"sample pictures, at most", "", bytes_text(f.pictures)});
  return table.text();
}

std::string time(const Plan& plan) {
  const TrainOptions& o = plan.input.options;
  Table table({"Time", ""}, "lrl");
  double all = 0;
  for (const StageTime& stage : plan.time) {
    std::string name = stage_name(stage.stage);
    if (stage.stage == Stage::kTraining) name += cat(", ", grouped(plan.steps), " steps of ", o.batch_size);
    if (stage.stage == Stage::kStart) name += ", on the CPU";
    table.row({name, seconds_text(stage.seconds)});
    all += stage.seconds;
  }
  table.row({"all", seconds_text(all)});
  return table.text();
}

std::string verdict(const Plan& plan) {
  std::string text;
  for (const Misfit& m : plan.misfits) {
    std::string stages;
    for (const Stage stage : m.stages) stages += cat(stages.empty() ? "" : "; ", stage_name(stage));
    text += cat("DOES NOT FIT into ", m.where, ": ", stages, "\n  ", bytes_text(m.needed), " of ",
                bytes_text(m.available), ". What would fit: ", m.remedy, "\n");
  }
  if (!plan.faster_placement.empty())
    text += cat("SLOW: the experts are computed on the CPU. What lets the GPU do it: ", plan.faster_placement,
                "\n");
  if (!plan.misfits.empty()) return text;
  const bool host_known = plan.input.machine.host_bytes > 0;
  return text + (host_known ? "Everything fits.\n"
                            : "Everything fits on the GPU; --host_memory GB checks the nodes too.\n");
}

}  // namespace

std::string memory_line(const PlanInput& input, TeacherPlacement placement) {
  const Machine& m = input.machine;
  std::string line = m.on_gpu() ? "memory of a rank's GPU, planned: " : "memory of a rank, planned: ";
  for (const StageMemory& stage : plan_memory(input, placement)) line += stage_line(stage) + "; ";
  return line + (m.on_gpu() ? cat(bytes_text(m.gpu_bytes - kGpuReserve), " are free")
                            : cat(bytes_text(m.host_bytes), " are free on this host"));
}

std::string plan_text(const Plan& plan) {
  std::string text = heading(plan);
  for (const std::string& section :
       {parameters(plan), memory(plan), placements(plan), work(plan), files(plan), time(plan), verdict(plan)})
    if (!section.empty()) text += "\n" + section;
  return text;
}

}  // namespace wandistill
