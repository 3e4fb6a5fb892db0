// Files that appear whole or not at all: written beside their place, fsynced, renamed.
#pragma once

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace wandistill {

/// A file under construction. It has a hidden temporary name (".<name>.<random>.tmp") in the folder of its
/// final one until commit(); without a commit the destructor removes it and an older file stays as it was.
/// Every failure is an Error with the path and the system's reason ("No space left on device").
class AtomicFile {
 public:
  explicit AtomicFile(std::filesystem::path path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(const void* data, size_t bytes);
  void write(std::string_view text) { write(text.data(), text.size()); }
  /// Flush, fsync, rename to the final name, fsync of the folder.
  void commit();
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_, temporary_;
  std::FILE* file_ = nullptr;
};

/// One call for small files.
void write_file_atomically(const std::filesystem::path& path, std::string_view content);

/// The whole file. Error where it cannot be read or is a folder.
std::string read_file(const std::filesystem::path& path);

/// The folder and its missing parents. Error where one of them is a file or cannot be made.
void make_directories(const std::filesystem::path& path);

/// Error unless the file system of the file `path` has so many bytes for us.
void require_space(const std::filesystem::path& path, int64_t bytes);

/// Removes the files and folders under construction that killed runs left in this folder, and says which.
/// Nobody may be writing there.
std::vector<std::filesystem::path> remove_temporaries(const std::filesystem::path& folder);

/// For libraries that write files themselves (HDF5): creates an empty file with a fresh temporary name in the
/// folder of `path` and returns its name. Pass it to commit_file, or remove it.
std::filesystem::path temporary_name(const std::filesystem::path& path);

/// Fsyncs the closed file `temporary`, renames it to `path` and fsyncs the folder.
void commit_file(const std::filesystem::path& temporary, const std::filesystem::path& path);

/// As commit_file, but never replaces a file: false, and nothing is done, if one has that name already. Among
/// several that commit to one name at once, on whatever hosts, one succeeds. Needs hard links.
bool commit_new_file(const std::filesystem::path& temporary, const std::filesystem::path& path);

/// Removes a file if it is there, and fsyncs its folder.
void remove_file(const std::filesystem::path& path);

}  // namespace wandistill
