// The data that comes with the program: the small teacher, prompts and student configs.
#pragma once

#include <filesystem>
#include <string>

namespace wandistill::cli {

/// The data folder that belongs to the running program, wherever it is started from: ../data beside its
/// folder in a build tree, ../share/wandistill/data where it is installed. Empty where there is neither.
std::filesystem::path find_data_folder();
/// The same for a program at this place.
std::filesystem::path find_data_folder(const std::filesystem::path& executable);

/// "<data>/<name>", or nothing without a data folder.
std::string embedded(const std::filesystem::path& data, const std::string& name);

}  // namespace wandistill::cli
