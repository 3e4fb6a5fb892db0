#include "src/cli/data_folder.h"

#include <system_error>

namespace wandistill::cli {

std::filesystem::path find_data_folder(const std::filesystem::path& executable) {
  const std::filesystem::path prefix = executable.parent_path().parent_path();
  for (const char* place : {"data", "share/wandistill/data"})
    if (std::filesystem::exists(prefix / place / "tiny-wan" / "model_index.json")) return prefix / place;
  return {};
}

std::filesystem::path find_data_folder() {
  std::error_code error;
  const std::filesystem::path executable = std::filesystem::read_symlink("/proc/self/exe", error);
  return error ? std::filesystem::path() : find_data_folder(executable);
}

std::string embedded(const std::filesystem::path& data, const std::string& name) {
  return data.empty() ? std::string() : (data / name).string();
}

}  // namespace wandistill::cli
