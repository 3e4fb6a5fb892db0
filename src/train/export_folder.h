// A folder that appears whole or not at all.
#pragma once

#include <cstdint>
#include <filesystem>

namespace wandistill {

/// A folder under construction beside its final place (".<name>.<random>.tmp"). Without a commit the
/// destructor removes it.
class StagedFolder {
 public:
  explicit StagedFolder(std::filesystem::path final_path);
  ~StagedFolder();
  StagedFolder(const StagedFolder&) = delete;
  StagedFolder& operator=(const StagedFolder&) = delete;

  const std::filesystem::path& path() const { return staged_; }
  /// Renames to the final name. A folder of that name changes places with this one first and is then removed.
  void commit();

 private:
  std::filesystem::path final_, staged_;
};

/// Copies a folder with all that is in it; files are fsynced. Links are followed.
void copy_folder(const std::filesystem::path& from, const std::filesystem::path& to);

/// Bytes of all files in a folder, links followed.
int64_t folder_bytes(const std::filesystem::path& folder);

}  // namespace wandistill
