#include "src/plan/plan_parts.h"
#include "wandistill/component_tensors.h"

namespace wandistill {
namespace {

/// The trajectories' stage under every placement. With one expert "expert" is "resident".
std::vector<PlacementPlan> all_placements(const PlanInput& in, double trajectory) {
  std::vector<PlacementPlan> all;
  for (const TeacherPlacement placement : {TeacherPlacement::kResident, TeacherPlacement::kExpert,
                                           TeacherPlacement::kStream, TeacherPlacement::kHost}) {
    if (placement == TeacherPlacement::kExpert && in.experts == 1) continue;
    PlacementPlan plan{.placement = placement};
    for (const StageMemory& stage : plan_memory(in, placement))
      if (stage.stage == Stage::kTrajectories) plan.gpu = stage.computing() + kGpuReserve;
    plan.host = in.experts_sizes().host_bytes(placement);
    plan.seconds = trajectory_seconds(in, placement, trajectory);
    plan.fits = plan.gpu <= in.machine.gpu_bytes;
    all.push_back(plan);
  }
  return all;
}

}  // namespace

Plan make_plan(const PlanInput& input) {
  Plan plan{.input = input, .placement = chosen_placement(input)};
  plan.expert_parameters = ParameterLayout(input.teacher).total();
  plan.text_encoder_parameters = parameter_count(umt5_tensors(input.text_encoder));
  if (input.with_student) plan.student_parameters = ParameterLayout(input.student).total();
  plan.memory = plan_memory(input, plan.placement);
  plan.work = plan_work(input);
  if (input.machine.on_gpu()) plan.placements = all_placements(input, plan.work.trajectory);
  plan.files = plan_files(input);
  if (input.with_student) {
    plan.training_samples = samples_per_epoch(input);
    plan.steps = training_steps(input);
  }
  plan.time = plan_time(input, plan.placement, plan.work);
  plan.misfits = find_misfits(plan);
  if (plan.input.machine.on_gpu() && plan.placement == TeacherPlacement::kHost &&
      input.placement == TeacherPlacement::kAuto)
    plan.faster_placement = find_faster_placement(input);
  return plan;
}

}  // namespace wandistill
