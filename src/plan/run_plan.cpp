// `wandistill plan`.
#include <algorithm>
#include <iostream>

#include "wandistill/commands.h"
#include "wandistill/error.h"
#include "wandistill/memory.h"
#include "wandistill/plan.h"
#include "wandistill/prompts.h"

namespace wandistill {
namespace {

Machine machine_of(const PlanOptions& o, const Session& session) {
  Machine m = Machine::of(o.card, o.threads > 0 ? int(o.threads) : session.threads());
  m.world_size = o.world_size;
  m.ranks_per_node =
      o.ranks_per_node > 0 ? std::min(o.ranks_per_node, o.world_size) : std::min<int64_t>(o.world_size, 8);
  if (o.gpu_memory > 0) {
    if (!m.on_gpu()) fail("--gpu_memory ", o.gpu_memory, " with --card cpu: name a card, or leave it out");
    m.gpu_bytes = int64_t(o.gpu_memory * 1e9);
  }
  if (o.matmul_tflops > 0) {
    m.bf16 = m.float32 = o.matmul_tflops * 1e12;
    if (!m.on_gpu()) m.cpu = m.float32;
  }
  if (o.link_gbs > 0) m.link = o.link_gbs * 1e9;
  m.host_bytes = int64_t(o.host_memory * 1e9);
  if (!m.on_gpu() && m.host_bytes == 0) m.host_bytes = available_memory();
  return m;
}

PromptFacts prompt_facts(const PlanOptions& o, const std::filesystem::path& folder) {
  PromptFacts facts = count_prompts(folder, read_prompts(o.train.data_path), o.train.teacher.negative_prompt);
  if (o.num_prompts > 0) facts.count = o.num_prompts;
  if (o.prompt_tokens > 0) {
    facts.longest = o.prompt_tokens;
    facts.mean = double(o.prompt_tokens);
    facts.counted = true;
  }
  return facts;
}

}  // namespace

int run_plan(Session& session, const PlanOptions& options) {
  session.collectively([&] {
    if (!session.is_root()) return;
    PlanInput input = PlanInput::load(options.train, options.image_size);
    input.prompts = prompt_facts(options, input.folder);
    input.placement = teacher_placement_of(options.train.cache.placement);
    input.machine = machine_of(options, session);
    const Plan plan = make_plan(input);
    std::cout << plan_text(plan) << std::flush;
    if (!options.json.empty()) write_json(options.json, plan_json(plan));
  });
  return 0;
}

}  // namespace wandistill
