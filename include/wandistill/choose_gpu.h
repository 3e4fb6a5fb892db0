// Which GPU is whose.
#pragma once

#include <string>
#include <vector>

#include "wandistill/session.h"

namespace wandistill {

/// The ordinal of this rank's GPU: every rank has one of its own. Collective; CollectiveError where a host
/// has fewer than ranks.
int choose_gpu(Session& session);

/// The same for all ranks of `host` at once. visible: for every rank the ids of the GPUs that it may use;
/// these may differ, as where a scheduler gives each rank its own. Error that names host, ranks and GPUs if
/// there are too few.
std::vector<int> assign_gpus(const std::string& host, const std::vector<std::vector<std::string>>& visible);

}  // namespace wandistill
