#include "src/plan/plan_parts.h"
#include "wandistill/plan.h"

namespace wandistill {
namespace {

Json describe(const PlanInput& in) {
  const Machine& m = in.machine;
  return {{"teacher", in.folder.string()},
          {"image", {in.height, in.width}},
          {"prompts",
           {{"count", in.prompts.count},
            {"longest_tokens", in.prompts.longest},
            {"mean_tokens", in.prompts.mean},
            {"counted", in.prompts.counted}}},
          {"machine",
           {{"card", m.card},
            {"world_size", m.world_size},
            {"ranks_per_node", m.ranks_per_node},
            {"threads", m.threads},
            {"gpu_bytes", m.gpu_bytes},
            {"host_bytes", m.host_bytes},
            {"bfloat16_flops_per_second", m.bf16},
            {"float32_flops_per_second", m.float32},
            {"cpu_flops_per_second", m.cpu},
            {"link_bytes_per_second", m.link}}}};
}

Json names(const std::vector<Stage>& stages) {
  Json all = Json::array();
  for (const Stage stage : stages) all.push_back(stage_name(stage));
  return all;
}

}  // namespace

Json plan_json(const Plan& plan) {
  Json json = describe(plan.input);
  json["parameters"] = {{"expert", plan.expert_parameters},
                        {"experts", plan.input.experts},
                        {"text_encoder", plan.text_encoder_parameters},
                        {"vae", plan.input.vae_parameters},
                        {"student", plan.student_parameters}};
  json["teacher_placement"] = teacher_placement_name(plan.placement);
  json["memory"] = Json::array();
  for (const StageMemory& s : plan.memory)
    json["memory"].push_back({{"stage", stage_name(s.stage)},
                              {"weights", s.weights},
                              {"activations", s.activations},
                              {"reserve", plan.input.machine.on_gpu() ? kGpuReserve : kProgramBytes},
                              {"host_of_rank", s.host},
                              {"host_of_node", s.shared},
                              {"node_in_all", node_bytes(plan.input, s)}});
  json["placements"] = Json::array();
  for (const PlacementPlan& p : plan.placements)
    json["placements"].push_back({{"placement", teacher_placement_name(p.placement)},
                                  {"gpu_bytes", p.gpu},
                                  {"host_bytes", p.host},
                                  {"seconds_per_trajectory", p.seconds},
                                  {"fits", p.fits}});
  const Work& w = plan.work;
  json["flops"] = {{"expert_forward", w.expert_forward},   {"trajectory", w.trajectory},
                   {"text_encoding", w.text_encoding},     {"student_forward", w.student_forward},
                   {"training_sample", w.training_sample}, {"checkpointed_sample", w.checkpointed_sample},
                   {"student_picture", w.student_picture}, {"decode", w.decode}};
  json["files"] = {{"cache_trajectory", plan.files.cache_trajectory},
                   {"cache", plan.files.cache},
                   {"checkpoint", plan.files.checkpoint},
                   {"checkpoints", plan.files.checkpoints},
                   {"student", plan.files.student},
                   {"pictures", plan.files.pictures}};
  json["samples_per_epoch"] = plan.training_samples;
  json["steps"] = plan.steps;
  json["seconds"] = Json::object();
  for (const StageTime& stage : plan.time) json["seconds"][stage_name(stage.stage)] = stage.seconds;
  json["does_not_fit"] = Json::array();
  for (const Misfit& m : plan.misfits)
    json["does_not_fit"].push_back({{"stages", names(m.stages)},
                                    {"where", m.where},
                                    {"needed", m.needed},
                                    {"available", m.available},
                                    {"remedy", m.remedy}});
  return json;
}

}  // namespace wandistill
