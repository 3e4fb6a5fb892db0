// Do all ranks write into the same folders?
#pragma once

#include <filesystem>
#include <vector>

#include "src/plan/checks.h"
#include "wandistill/session.h"

namespace wandistill {

/// Every rank may write there, and what rank 0 writes is what all of them read within `seconds`. A folder
/// that is not there yet stands for the nearest one above it. Rank 0's small files have temporary names and
/// are removed, whatever comes of it. Collective; each rank passes the folders as it would use them.
Check check_shared_folders(const Session& session, const std::vector<std::filesystem::path>& folders,
                           double seconds);

}  // namespace wandistill
