// What can be told from the ranks' facts alone. Nothing here communicates; facts are by rank.
#pragma once

#include <string>
#include <vector>

#include "src/doctor/rank_facts.h"
#include "src/plan/checks.h"

namespace wandistill {

/// Did the launcher start the world that MPI sees; MPI's thread level.
Check launcher_check(const std::vector<RankFacts>& facts);
/// Versions and checksum are the same on all ranks; those that differ from most are named.
Check versions_check(const std::vector<RankFacts>& facts);
/// Ranks, threads and cores of every host. A warning where ranks have more threads than cores, or where their
/// cores overlap without being the same.
Check cores_check(const std::vector<RankFacts>& facts);
/// Which rank has which GPU (assign_gpus) with this --device, and the driver.
Check gpus_check(const std::vector<RankFacts>& facts, const std::string& device);
/// Room in /dev/shm, through which MPI and NCCL send within a host.
Check shared_memory_check(const std::vector<RankFacts>& facts, const std::string& device);
/// ulimit's for locked memory and open files.
Check limits_check(const std::vector<RankFacts>& facts);

/// The ranks of every host, in the order of their first ranks.
std::vector<std::vector<int>> ranks_by_host(const std::vector<RankFacts>& facts);
/// True if some rank computes on a GPU with this --device.
bool uses_gpus(const std::vector<RankFacts>& facts, const std::string& device);

/// Lines, the first few of them where there are many.
class Lines {
 public:
  void add(const std::string& line);
  bool empty() const { return count_ == 0; }
  std::string text() const;

 private:
  static constexpr int64_t kMost = 16;
  std::string text_;
  int64_t count_ = 0;
};

/// The distinct texts, each with the ranks that have it and a host; an empty text says nothing. Both by rank.
Lines by_rank(const std::vector<std::string>& texts, const std::vector<std::string>& hosts);

/// The check with its verdict: problems, if there are any, stand in front of what was found.
Check judged(std::string name, const Lines& found, CheckResult if_problems, const Lines& problems,
             std::string remedy);

}  // namespace wandistill
