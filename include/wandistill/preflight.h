// A look at what a run will run on, before it starts.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "wandistill/session.h"

namespace wandistill {

/// The quick ones of `wandistill doctor`'s checks, with this --device and these output folders; takes well
/// under a second, or 10 where the folder is not shared. Rank 0 prints warnings and a line of summary on
/// stderr. Collective; CollectiveError with the checks that failed.
void preflight(Session& session, const std::string& device,
               const std::vector<std::filesystem::path>& folders);

}  // namespace wandistill
