// The checks that `doctor` and the start of a run have in common.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "src/doctor/rank_facts.h"
#include "src/plan/checks.h"
#include "wandistill/session.h"

namespace wandistill {

/// Those of the ranks' facts. False, on every rank, where the ranks run different programs: then they should
/// not talk about more. Collective.
bool add_fact_checks(const Session& session, const std::vector<RankFacts>& facts, const std::string& device,
                     Checks* checks);

/// The folders that a run writes to, and the clocks. Collective.
void add_shared_checks(const Session& session, const std::vector<std::filesystem::path>& folders,
                       Checks* checks);

}  // namespace wandistill
