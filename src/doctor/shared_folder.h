// Do all ranks write into the same folder?
#pragma once

#include <filesystem>

#include "src/plan/checks.h"
#include "wandistill/session.h"

namespace wandistill {

/// Every rank may write there, and what rank 0 writes is what all of them read within `seconds`. A folder
/// that is not there yet stands for the nearest one above it. Rank 0's small file has a temporary name and is
/// removed, whatever comes of it. Collective; each rank passes the folder as it would use it.
Check check_shared_folder(const Session& session, const std::filesystem::path& folder, double seconds);

}  // namespace wandistill
