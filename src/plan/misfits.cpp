// What does not fit, and which options would make it fit: found by planning again with them.
#include <algorithm>
#include <functional>
#include <map>

#include "src/plan/plan_parts.h"
#include "wandistill/error.h"

namespace wandistill {
namespace {

/// An option that makes something smaller.
struct Remedy {
  std::string option, value;
  std::function<bool(PlanInput&)> apply;  // false: it is so already, or smaller
};

Remedy text(const char* option, std::string value, std::function<std::string&(PlanInput&)> field) {
  return {option, value, [value, field](PlanInput& in) {
            const bool changes = field(in) != value;
            field(in) = value;
            return changes;
          }};
}

/// `most` halved again and again, down to one: half as much may do.
void add_halves(std::vector<Remedy>& all, const char* option, int64_t most,
                const std::function<void(PlanInput&, int64_t)>& set) {
  for (int64_t n = most / 2; n >= 1; n /= 2)
    all.push_back({option, std::to_string(n), [set, n](PlanInput& in) { return set(in, n), true; }});
}

/// From those that cost little to those that cost time.
std::vector<Remedy> remedies(const PlanInput& input, Stage stage) {
  std::vector<Remedy> all;
  if (stage <= Stage::kStart) {
    all.push_back(text("teacher_dtype", "bfloat16",
                       [](PlanInput& in) -> std::string& { return in.options.teacher.teacher_dtype; }));
    add_halves(all, "teacher_batch", std::min(input.options.cache.teacher_batch, input.trajectories()),
               [](PlanInput& in, int64_t n) { in.options.cache.teacher_batch = n; });
    for (const TeacherPlacement to :
         {TeacherPlacement::kExpert, TeacherPlacement::kStream, TeacherPlacement::kHost})
      all.push_back({"teacher_placement", teacher_placement_name(to), [to](PlanInput& in) {
                       if (in.placement == TeacherPlacement::kAuto || in.placement >= to) return false;
                       in.placement = to;
                       return true;
                     }});
    return all;
  }
  if (input.machine.world_size > 1)
    all.push_back({"zero", "1", [](PlanInput& in) { return std::exchange(in.options.zero, 1) == 0; }});
  all.push_back(text("student_dtype", "bfloat16",
                     [](PlanInput& in) -> std::string& { return in.options.student_dtype; }));
  if (stage == Stage::kPictures)
    all.push_back(text("vae_dtype", "bfloat16",
                       [](PlanInput& in) -> std::string& { return in.options.pictures.vae_dtype; }));
  const int64_t share = (input.options.batch_size + input.machine.world_size - 1) / input.machine.world_size;
  add_halves(all, "micro_batch",
             input.options.micro_batch > 0 ? std::min(share, input.options.micro_batch) : share,
             [](PlanInput& in, int64_t n) { in.options.micro_batch = n; });
  all.push_back({"gradient_checkpointing", "",
                 [](PlanInput& in) { return !std::exchange(in.options.gradient_checkpointing, true); }});
  return all;
}

/// The first remedy that is enough alone, or else the first ones together; empty if all are not.
std::string find_remedy(const PlanInput& input, Stage stage,
                        const std::function<bool(const PlanInput&)>& enough) {
  const auto line = [](const std::string& option, const std::string& value) {
    return cat("--", option, value.empty() ? "" : " ", value);
  };
  const std::vector<Remedy> all = remedies(input, stage);
  for (const Remedy& remedy : all) {
    PlanInput changed = input;
    if (remedy.apply(changed) && enough(changed)) return line(remedy.option, remedy.value);
  }
  PlanInput changed = input;
  std::map<std::string, std::string> together;
  for (const Remedy& remedy : all) {
    if (!remedy.apply(changed)) continue;
    together[remedy.option] = remedy.value;
    if (!enough(changed)) continue;
    std::string options;
    for (const auto& [option, value] : together)
      options += (options.empty() ? "" : " ") + line(option, value);
    return options;
  }
  return {};
}

StageMemory memory_of(const PlanInput& input, Stage stage) {
  const std::vector<StageMemory> stages = plan_memory(input, chosen_placement(input));
  return *std::ranges::find(stages, stage, &StageMemory::stage);
}

int64_t gpu_bytes(const StageMemory& stage) {
  return stage.computing() + kGpuReserve;
}

bool fits_gpu(const PlanInput& in, const StageMemory& stage) {
  return !in.machine.on_gpu() || gpu_bytes(stage) <= in.machine.gpu_bytes;
}
bool fits_node(const PlanInput& in, const StageMemory& stage) {
  return in.machine.host_bytes == 0 || node_bytes(in, stage) <= in.machine.host_bytes;
}

/// The most ranks of a node that fit; 0 if not even one does.
int64_t most_ranks(PlanInput input, const StageMemory& stage) {
  while (input.machine.ranks_per_node > 0 && !fits_node(input, stage)) --input.machine.ranks_per_node;
  return input.machine.ranks_per_node;
}

std::string gpu_remedy(const PlanInput& in, const StageMemory& stage) {
  const std::string options = find_remedy(in, stage.stage, [&](const PlanInput& changed) {
    return fits_gpu(changed, memory_of(changed, stage.stage));
  });
  return options.empty() ? "a GPU with more memory, or a smaller image_size or student" : options;
}

std::string node_remedy(const PlanInput& in, const StageMemory& stage) {
  const std::string options = find_remedy(in, stage.stage, [&](const PlanInput& changed) {
    return fits_node(changed, memory_of(changed, stage.stage));
  });
  if (!options.empty()) return options;
  const int64_t ranks = most_ranks(in, stage);
  return ranks > 0 ? cat("at most ", ranks, ranks == 1 ? " rank" : " ranks", " per node")
                   : std::string("nodes with more memory");
}

}  // namespace

int64_t node_bytes(const PlanInput& in, const StageMemory& stage) {
  const int64_t rank = in.machine.on_gpu() ? stage.host : stage.computing();
  return in.machine.ranks_per_node * (rank + kProgramBytes) + stage.shared;
}

std::vector<Misfit> find_misfits(const Plan& plan) {
  const PlanInput& in = plan.input;
  std::vector<Misfit> all;
  // Stages in a row with the same remedy are one.
  const auto add = [&](Stage stage, const char* where, int64_t needed, int64_t available,
                       const std::string& remedy) {
    for (Misfit& m : all)
      if (m.where == where && m.remedy == remedy) {
        m.stages.push_back(stage);
        m.needed = std::max(m.needed, needed);
        return;
      }
    all.push_back({{stage}, where, needed, available, remedy});
  };
  for (const StageMemory& stage : plan.memory) {
    if (!fits_gpu(in, stage))
      add(stage.stage, "a rank's GPU", gpu_bytes(stage), in.machine.gpu_bytes, gpu_remedy(in, stage));
    if (!fits_node(in, stage))
      add(stage.stage, "a node's memory", node_bytes(in, stage), in.machine.host_bytes,
          node_remedy(in, stage));
  }
  return all;
}

std::string find_faster_placement(const PlanInput& input) {
  return find_remedy(input, Stage::kTrajectories, [](const PlanInput& changed) {
    return chosen_placement(changed) != TeacherPlacement::kHost;
  });
}

}  // namespace wandistill
