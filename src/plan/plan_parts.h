// The parts of a plan that make_plan() puts together.
#pragma once

#include "wandistill/plan.h"

namespace wandistill {

/// Bytes of a node's memory.
int64_t node_bytes(const PlanInput& input, const StageMemory& stage);
Work plan_work(const PlanInput& input);
PlanFiles plan_files(const PlanInput& input);
/// Bytes of a number in a trajectory's file.
int64_t stored_cache_bytes(const PlanInput& input);
/// Samples of an epoch, and optimizer steps of the job (without --max_minutes).
int64_t samples_per_epoch(const PlanInput& input);
int64_t training_steps(const PlanInput& input);
/// Seconds per trajectory and rank.
double trajectory_seconds(const PlanInput& input, TeacherPlacement placement, double flops);
std::vector<StageTime> plan_time(const PlanInput& input, TeacherPlacement placement, const Work& work);

/// Of a plan that has all else.
std::vector<Misfit> find_misfits(const Plan& plan);
std::string find_faster_placement(const PlanInput& input);

}  // namespace wandistill
