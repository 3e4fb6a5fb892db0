// Are there more threads than cores, or ranks on each other's cores?
#include <algorithm>
#include <set>

#include "src/comm/ranks_text.h"
#include "src/doctor/fact_checks.h"
#include "wandistill/error.h"

namespace wandistill {
namespace {

bool within(const std::vector<int>& part, const std::vector<int>& all) {
  return std::ranges::includes(all, part);
}

/// "node1: ranks 0-3, 8 threads and 8 cores each, 0-31 of 64".
std::string describe(const std::vector<RankFacts>& facts, const std::vector<int>& ranks) {
  const RankFacts& first = facts[size_t(ranks[0])];
  std::set<int> cores;
  auto [least, most] = std::pair(first.threads, first.threads);
  bool bound = false;
  for (const int rank : ranks) {
    const RankFacts& f = facts[size_t(rank)];
    cores.insert(f.cores.begin(), f.cores.end());
    least = std::min(least, f.threads);
    most = std::max(most, f.threads);
    bound = bound || f.cores != first.cores;
  }
  return cat(first.host, ": ", ranks_text(ranks), ", ", least, least == most ? "" : cat("-", most),
             most == 1 ? " thread" : " threads", ranks.size() > 1 ? " each" : "",
             bound ? ", each on its own of cores " : ", on cores ", ranges_text({cores.begin(), cores.end()}),
             " of ", first.host_cores);
}

/// A set of cores has to carry all threads of the ranks that may run nowhere else.
void find_crowds(const std::vector<RankFacts>& facts, const std::vector<int>& ranks, Lines* problems) {
  std::set<std::vector<int>> masks;
  for (const int rank : ranks) masks.insert(facts[size_t(rank)].cores);
  for (const std::vector<int>& mask : masks) {
    std::vector<int> crowd;
    int64_t threads = 0;
    for (const int rank : ranks) {
      if (!within(facts[size_t(rank)].cores, mask)) continue;
      crowd.push_back(rank);
      threads += facts[size_t(rank)].threads;
    }
    if (threads > int64_t(mask.size()))
      problems->add(cat(facts[size_t(ranks[0])].host, ": oversubscribed, ", threads, " threads of ",
                        ranks_text(crowd), " on ", mask.size(), mask.size() == 1 ? " core" : " cores", " (",
                        ranges_text(mask), ")"));
  }
}

/// Ranks with the same cores, or some of another's, may share them well; with a part in common they are
/// bound by mistake. The first such pair.
void find_overlap(const std::vector<RankFacts>& facts, const std::vector<int>& ranks, Lines* problems) {
  for (size_t i = 0; i < ranks.size(); ++i)
    for (size_t j = i + 1; j < ranks.size(); ++j) {
      const std::vector<int>&a = facts[size_t(ranks[i])].cores, &b = facts[size_t(ranks[j])].cores;
      std::vector<int> common;
      std::ranges::set_intersection(a, b, std::back_inserter(common));
      if (common.empty() || a == b) continue;
      return problems->add(cat(facts[size_t(ranks[0])].host, ": ", ranks_text({ranks[i], ranks[j]}),
                               " are bound to overlapping cores, with ", ranges_text(common), " in common"));
    }
}

}  // namespace

Check cores_check(const std::vector<RankFacts>& facts) {
  Lines found, problems;
  for (const std::vector<int>& ranks : ranks_by_host(facts)) {
    found.add(describe(facts, ranks));
    find_crowds(facts, ranks, &problems);
    find_overlap(facts, ranks, &problems);
  }
  return judged("ranks and cores", found, CheckResult::kWarning, problems,
                "fewer ranks per host or a smaller OMP_NUM_THREADS; cores of its own for each rank: mpirun "
                "--map-by slot:PE=N, srun --cpus-per-task=N");
}

}  // namespace wandistill
