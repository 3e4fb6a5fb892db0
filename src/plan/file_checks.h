// Checks of a model's folder, and of the folders and disks that are written to.
#pragma once

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "src/plan/checks.h"
#include "wandistill/plan.h"

namespace wandistill {

/// Every component's safetensors headers against its config. two_experts: transformer_2 is used too.
void check_components(Checks& checks, const std::filesystem::path& folder, bool two_experts);

/// The folder itself, or the nearest one above it that exists; absolute.
std::filesystem::path existing_folder(std::filesystem::path folder);

/// Error where files could not be made in the folder, which need not be there yet: a file is in the way, or
/// permission is missing. What was found, for the table.
std::string check_writable(const std::filesystem::path& folder);

/// Bytes that will be written below each folder, against what is free on their file systems. Error naming
/// what is short.
std::string check_disk(const std::vector<std::pair<std::filesystem::path, int64_t>>& needs);

}  // namespace wandistill
