// Which rank has which GPU?
#include <algorithm>
#include <set>

#include "src/comm/ranks_text.h"
#include "src/doctor/fact_checks.h"
#include "wandistill/choose_gpu.h"
#include "wandistill/error.h"

namespace wandistill {
namespace {

constexpr const char* kName = "GPUs";

bool sees_none(const RankFacts& f) {
  return f.gpus.empty();
}

/// "node1: ranks 0-3, each sees 4: 0 has NVIDIA H100 at 0000:1b:00.0 (0a1b2c3d), ...".
std::string describe(const std::vector<RankFacts>& facts, const std::vector<int>& ranks,
                     const std::vector<int>& ordinals) {
  constexpr size_t kDigits = 8;  // of an id
  const RankFacts& first = facts[size_t(ranks[0])];
  std::string text = cat(first.host, ": ", ranks_text(ranks), ranks.size() > 1 ? ", each sees " : ", sees ",
                         first.gpus.size());
  for (size_t i = 0; i < ranks.size(); ++i) {
    const RankFacts& f = facts[size_t(ranks[i])];
    const auto own = size_t(ordinals[i]);
    text += cat(i == 0 ? ": " : ", ", ranks[i], " has ",
                own < f.gpu_names.size() ? f.gpu_names[own] : std::string("one"), " (",
                f.gpus[own].substr(0, kDigits), ")");
  }
  return text;
}

}  // namespace

bool uses_gpus(const std::vector<RankFacts>& facts, const std::string& device) {
  return device == "cuda" || (device == "auto" && std::ranges::none_of(facts, sees_none));
}

Check gpus_check(const std::vector<RankFacts>& facts, const std::string& device) {
  Lines found, problems;
  if (device != "auto" && device != "cuda") {
    found.add("none are used with --device " + device);
    return judged(kName, found, CheckResult::kGood, problems, "");
  }
  std::vector<int> blind;
  for (size_t rank = 0; rank < facts.size(); ++rank)
    if (sees_none(facts[rank])) blind.push_back(int(rank));
  if (!blind.empty()) {
    const RankFacts& first = facts[size_t(blind[0])];
    const std::string why = cat(ranks_text(blind), " (", first.host, ") ", blind.size() == 1 ? "sees" : "see",
                                " no GPU", first.gpu_problem.empty() ? "" : ": ", first.gpu_problem);
    const bool none = blind.size() == facts.size();
    // A driver that is there and shows nothing is older than the program's CUDA, or the job asked for none.
    if (device == "auto" && none && first.driver.empty()) {
      found.add(cat("no rank sees one (", first.gpu_problem, "): the ranks compute on the CPU"));
      return judged(kName, found, CheckResult::kGood, problems, "");
    }
    problems.add(device == "auto" ? why + ", so that all ranks compute on the CPU" : why);
    return judged(kName, found, device == "auto" ? CheckResult::kWarning : CheckResult::kBad, problems,
                  "ask the scheduler for a GPU per rank, or --device cpu; a driver for the program's CUDA");
  }
  std::set<std::string> drivers;
  for (const std::vector<int>& ranks : ranks_by_host(facts)) {
    std::vector<std::vector<std::string>> visible;
    for (const int rank : ranks) {
      visible.push_back(facts[size_t(rank)].gpus);
      drivers.insert(facts[size_t(rank)].driver);
    }
    try {
      found.add(describe(facts, ranks, assign_gpus(facts[size_t(ranks[0])].host, visible)));
    } catch (const Error& error) {
      problems.add(error.what());
    }
  }
  std::string list;
  for (const std::string& driver : drivers) list += (list.empty() ? "" : ", ") + driver;
  if (!problems.empty())
    return judged(kName, found, CheckResult::kBad, problems,
                  "start at most one rank per GPU; --gpus-per-node=N or --gpus-per-task=1 under Slurm");
  if (drivers.size() > 1) problems.add("the hosts' drivers differ: for CUDA " + list);
  found.add(cat("driver for CUDA ", list, ", program with CUDA ", facts[0].version("CUDA")));
  return judged(kName, found, CheckResult::kWarning, problems, "the same driver on all hosts");
}

}  // namespace wandistill
