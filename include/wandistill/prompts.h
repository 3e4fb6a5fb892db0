// Prompt files: one prompt per line.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace wandistill {

/// The lines of a UTF-8 text file without surrounding white space; empty lines and repetitions are left out.
/// A file with no prompt, or one that is not UTF-8, is an error naming the file (and line).
std::vector<std::string> read_prompts(const std::filesystem::path& file);

}  // namespace wandistill
