// `wandistill plan`: what a job will take. Its output is the answer, so no options are printed.
#include "src/cli/data_folder.h"
#include "src/cli/subcommands.h"
#include "wandistill/machine.h"
#include "wandistill/wan_config.h"

namespace wandistill::cli {

PlanLine::PlanLine(const std::filesystem::path& data)
    : set("plan [options]",
          "Says what `wandistill train` with the same options (--output_dir is not needed) will take: "
          "parameters,\nmemory by stage, work, files and time, and what does not fit. It reads config files "
          "alone, no weights,\nand takes it that sample pictures are drawn. Rates are assumptions (40 % of a "
          "card's best; 65 GFLOP/s\na core) unless given.") {
  PlanOptions& o = options;
  o.train.save_samples = true;
  set.group("Machine");
  std::vector<std::string> names;
  for (const Card& card : cards()) names.emplace_back(card.name);
  names.emplace_back("cpu");
  set.add("card", &o.card, "", "what a rank computes on: a GPU of its own, or this machine's CPU")
      ->choices(names);
  set.add("gpu_memory", &o.gpu_memory, "GB", "of a rank's GPU (default: the card's)")
      ->limits(at_least(0))
      ->unset_means("the card's");
  set.add("host_memory", &o.host_memory, "GB",
          "of a node (default: not checked; with --card cpu: what is free here)")
      ->limits(at_least(0))
      ->unset_means("not checked");
  set.add("matmul_tflops", &o.matmul_tflops, "X",
          "what products and attention achieve on a rank, in the types that are chosen (default: 40 % of the "
          "card's best)")
      ->limits(at_least(0))
      ->unset_means("40 % of the card's best");
  set.add("link_gbs", &o.link_gbs, "X", "GB/s from the host to a GPU (default: the card's)")
      ->limits(at_least(0))
      ->unset_means("the card's");
  set.add("world_size", &o.world_size, "N", "ranks in all")->limits(at_least(1));
  set.add("ranks_per_node", &o.ranks_per_node, "N", "of these (default: all, 8 at most)")
      ->limits(at_least(0))
      ->unset_means("all, 8 at most");
  set.add("threads", &o.threads, "N", "of a rank (default: as on this machine)")
      ->limits(at_least(0))
      ->unset_means("as on this machine");
  set.group("What is planned");
  set.add("image_size", &o.image_size, "N", "pixels (default: as the student's config says)")
      ->limits(at_least(0))
      ->unset_means("as the student's config says");
  set.add("num_prompts", &o.num_prompts, "N", "(default: those in the data)")
      ->limits(at_least(0))
      ->unset_means("those in the data");
  set.add("prompt_tokens", &o.prompt_tokens, "N",
          "of each prompt (default: counted, or 512, the most, where the folder has no tokenizer)")
      ->limits(between(0, double(kTextPositions)))
      ->unset_means("counted");
  set.add("json", &o.json, "FILE", "write the plan there too");
  declare_train(set, o.train, data);
}

bool PlanLine::parse(const std::vector<std::string>& arguments) {
  if (!set.parse(arguments)) return false;
  apply_compute_dtype(options.train.compute_dtype, {{"teacher_dtype", &options.train.teacher.teacher_dtype},
                                                    {"student_dtype", &options.train.student_dtype}});
  require_option("teacher_path", options.train.teacher.teacher_path);
  require_option("student_config", options.train.student_config);
  require_option("data_path", options.train.data_path);
  return true;
}

Prepared prepare_plan(const std::vector<std::string>& arguments) {
  PlanLine line(find_data_folder());
  if (!line.parse(arguments)) return {line.set.help(), nullptr};
  return {"", [options = line.options](Session& session) { return run_plan(session, options); }};
}

}  // namespace wandistill::cli
