#include "wandistill/choose_gpu.h"

#include <algorithm>
#include <set>
#include <sstream>

#include "wandistill/gpu.h"

namespace wandistill {

// Ranks that see the same GPUs take them in turn.
std::vector<int> assign_gpus(const std::string& host, const std::vector<std::vector<std::string>>& visible) {
  std::set<std::string> all, taken;
  for (const auto& ids : visible) all.insert(ids.begin(), ids.end());
  std::vector<int> ordinals;
  for (size_t rank = 0; rank < visible.size(); ++rank) {
    const auto same =
        std::count(visible.begin(), visible.begin() + static_cast<int64_t>(rank), visible[rank]);
    const bool enough = same < static_cast<int64_t>(visible[rank].size());
    if (!enough || !taken.insert(visible[rank][static_cast<size_t>(same)]).second)
      fail(host, ": ", visible.size(), visible.size() == 1 ? " rank" : " ranks", ", and ", all.size(),
           all.size() == 1 ? " GPU" : " GPUs", " for them: local rank ", rank,
           " (counted from 0), which may use ", visible[rank].size(),
           " of them, is left without one; start at most one rank per GPU");
    ordinals.push_back(static_cast<int>(same));
  }
  return ordinals;
}

int choose_gpu(Session& session) {
  std::string ids;
  for (const std::string& id : cuda_device_ids()) ids += id + "\n";
  const std::vector<std::string> hosts = session.gather(session.host()), lists = session.gather(ids);
  // By name, not by MPI's shared memory: where machines share a name, their GPUs' ids still differ.
  std::vector<std::vector<std::string>> visible;
  size_t own = 0;
  for (size_t rank = 0; rank < hosts.size(); ++rank) {
    if (hosts[rank] != session.host()) continue;
    if (rank == static_cast<size_t>(session.rank())) own = visible.size();
    std::istringstream list(lists[rank]);
    visible.emplace_back();
    for (std::string id; std::getline(list, id);) visible.back().push_back(id);
  }
  int ordinal = 0;
  session.collectively([&] { ordinal = assign_gpus(session.host(), visible)[own]; });
  return ordinal;
}

}  // namespace wandistill
