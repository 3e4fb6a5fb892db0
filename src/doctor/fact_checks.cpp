#include "src/doctor/fact_checks.h"

#include <algorithm>
#include <set>

#include "src/comm/ranks_text.h"
#include "src/plan/units.h"
#include "wandistill/error.h"

namespace wandistill {

void Lines::add(const std::string& line) {
  if (count_++ < kMost) text_ += (text_.empty() ? "" : "\n") + line;
}

std::string Lines::text() const {
  return count_ > kMost ? cat(text_, "\nand ", count_ - kMost, " more") : text_;
}

Check judged(std::string name, const Lines& found, CheckResult if_problems, const Lines& problems,
             std::string remedy) {
  if (problems.empty()) return {std::move(name), CheckResult::kGood, found.text(), ""};
  const std::string text = problems.text() + (found.empty() ? "" : "\n" + found.text());
  return {std::move(name), if_problems, text, std::move(remedy)};
}

std::vector<std::vector<int>> ranks_by_host(const std::vector<RankFacts>& facts) {
  std::vector<std::vector<int>> all;
  for (size_t rank = 0; rank < facts.size(); ++rank) {
    const auto same = std::ranges::find_if(
        all, [&](const std::vector<int>& ranks) { return facts[size_t(ranks[0])].host == facts[rank].host; });
    if (same == all.end())
      all.push_back({int(rank)});
    else
      same->push_back(int(rank));
  }
  return all;
}

namespace {

using Groups = std::vector<std::pair<std::string, std::vector<int>>>;

/// Ranks by their text, in the order of first ranks.
Groups groups_of(const std::vector<std::string>& texts) {
  Groups groups;
  for (size_t rank = 0; rank < texts.size(); ++rank) {
    const auto same = std::ranges::find(groups, texts[rank], &Groups::value_type::first);
    if (same == groups.end())
      groups.push_back({texts[rank], {int(rank)}});
    else
      same->second.push_back(int(rank));
  }
  return groups;
}

/// By what is asked for, what most have first; of equally many what the lowest rank has.
Groups groups_of(const std::vector<RankFacts>& facts,
                 const std::function<std::string(const RankFacts&)>& of) {
  std::vector<std::string> texts;
  for (const RankFacts& f : facts) texts.push_back(of(f));
  Groups groups = groups_of(texts);
  std::ranges::stable_sort(groups, std::greater(), [](const auto& group) { return group.second.size(); });
  return groups;
}

/// "ranks 1-3 (node7, ...)".
std::string with_host(const std::vector<int>& ranks, const std::function<std::string(int)>& host_of) {
  const auto others = [&](int rank) { return host_of(rank) != host_of(ranks[0]); };
  return cat(ranks_text(ranks), " (", host_of(ranks[0]), std::ranges::any_of(ranks, others) ? ", ..." : "",
             ")");
}

std::string with_host(const std::vector<int>& ranks, const std::vector<RankFacts>& facts) {
  return with_host(ranks, [&](int rank) { return facts[size_t(rank)].host; });
}

}  // namespace

Lines by_rank(const std::vector<std::string>& texts, const std::vector<std::string>& hosts) {
  Lines lines;
  for (const auto& [text, ranks] : groups_of(texts)) {
    if (text.empty()) continue;
    const std::string who = with_host(ranks, [&](int rank) { return hosts[size_t(rank)]; });
    lines.add(texts.size() == 1 ? text : who + ": " + text);
  }
  return lines;
}

Check launcher_check(const std::vector<RankFacts>& facts) {
  const int world = int(facts.size()), launched = facts[0].launched_size;
  Lines found, problems;
  found.add(cat(facts[0].launcher == "none" ? "no launcher" : facts[0].launcher, ", ", world,
                world == 1 ? " rank, " : " ranks, ", facts[0].version("MPI"), ", ", facts[0].thread_level));
  if (launched > 0 && launched != world)
    problems.add(cat("the launcher started ", launched, " processes, and MPI's world has ", world));
  const auto groups = groups_of(facts, [](const RankFacts& f) { return f.launcher; });
  for (size_t i = 1; i < groups.size(); ++i)
    problems.add(
        cat(with_host(groups[i].second, facts), ": ", groups[i].first, ", the others: ", groups[0].first));
  return judged(
      "launcher", found, CheckResult::kBad, problems,
      "start all ranks by the mpirun of the MPI library that the program is linked with, or by srun "
      "--mpi=pmix");
}

Check versions_check(const std::vector<RankFacts>& facts) {
  std::set<std::string> names;
  for (const RankFacts& f : facts)
    for (const auto& version : f.versions) names.insert(version.first);
  Lines problems;
  std::string same;
  for (const std::string& name : names) {
    const auto groups = groups_of(facts, [&](const RankFacts& f) { return f.version(name); });
    if (groups.size() == 1 && groups[0].first != "none")
      same += cat(same.empty() ? "" : ", ", name, " ", groups[0].first);
    for (size_t i = 1; i < groups.size(); ++i)
      problems.add(cat(with_host(groups[i].second, facts), ": ", name, " ", groups[i].first, ", where ",
                       ranks_text(groups[0].second), groups[0].second.size() == 1 ? " has " : " have ",
                       groups[0].first));
  }
  Lines found;
  found.add(same);
  return judged(
      "versions", found, CheckResult::kBad, problems,
      "the same program and libraries on all hosts: one folder that all of them see, the same modules "
      "and LD_LIBRARY_PATH");
}

Check shared_memory_check(const std::vector<RankFacts>& facts, const std::string& device) {
  // Open MPI takes about 4 MiB of a rank; NCCL up to 10 MB for each connection of a GPU.
  const int64_t of_rank = (uses_gpus(facts, device) ? int64_t{128} : int64_t{16}) << 20;
  Lines found, problems;
  for (const std::vector<int>& ranks : ranks_by_host(facts)) {
    const RankFacts& f = facts[size_t(ranks[0])];
    const std::string text =
        cat(f.host, ": ", bytes_text(f.shm_free), " of ", bytes_text(f.shm_bytes), " free");
    if (ranks.size() > 1 && f.shm_free < of_rank * int64_t(ranks.size()))
      problems.add(
          cat(text, "; its ", ranks.size(), " ranks may want ", bytes_text(of_rank * int64_t(ranks.size()))));
    else
      found.add(text);
  }
  return judged("/dev/shm", found, CheckResult::kWarning, problems,
                "remove what other jobs left there; in a container a larger --shm-size, or --ipc=host");
}

Check limits_check(const std::vector<RankFacts>& facts) {
  const auto limit = [](int64_t value, const std::string& text) { return value < 0 ? "unlimited" : text; };
  const auto describe = [&](const RankFacts& f) {
    return cat("locked memory ", limit(f.locked_bytes, bytes_text(f.locked_bytes)), ", open files ",
               limit(f.files, grouped(f.files)));
  };
  Lines found, problems;
  for (const auto& [text, ranks] : groups_of(facts, describe))
    found.add(ranks.size() == facts.size() ? text : cat(with_host(ranks, facts), ": ", text));
  const bool hosts = ranks_by_host(facts).size() > 1;
  // A connection to every other rank, and what the program itself opens.
  const int64_t files = std::max<int64_t>(1024, 256 + 2 * int64_t(facts.size()));
  std::vector<int> locked, few;
  for (size_t rank = 0; rank < facts.size(); ++rank) {
    if (hosts && facts[rank].infiniband && facts[rank].locked_bytes >= 0) locked.push_back(int(rank));
    if (facts[rank].files >= 0 && facts[rank].files < files) few.push_back(int(rank));
  }
  if (!locked.empty())
    problems.add(
        with_host(locked, facts) +
        ": locked memory is limited, and InfiniBand needs it for what it sends: ulimit -l unlimited");
  if (!few.empty())
    problems.add(cat(with_host(few, facts), ": fewer open files than a run may need: ulimit -n ", files));
  return judged(
      "limits", found, CheckResult::kWarning, problems,
      "raise them in the job script or in /etc/security/limits.conf; Slurm: PropagateResourceLimits");
}

}  // namespace wandistill
