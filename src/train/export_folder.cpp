#include "src/train/export_folder.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <vector>

#include "wandistill/error.h"
#include "wandistill/file.h"

namespace wandistill {
namespace {

namespace fs = std::filesystem;

fs::path parent_of(const fs::path& path) {
  return path.has_parent_path() ? path.parent_path() : fs::path(".");
}

void fsync_folder(const fs::path& folder) {
  const int fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  // Some network file systems cannot fsync a folder (EINVAL).
  const bool ok = fd >= 0 && (::fsync(fd) == 0 || errno == EINVAL);
  const int error = errno;
  if (fd >= 0) ::close(fd);
  if (!ok) fail(folder.string(), ": cannot fsync this folder: ", std::strerror(error));
}

void rename_or_fail(const fs::path& from, const fs::path& to) {
  if (::rename(from.c_str(), to.c_str()) != 0)
    fail(to.string(), ": cannot rename the finished folder to this name: ", std::strerror(errno));
}

void copy_one_file(const fs::path& from, const fs::path& to) {
  std::ifstream in(from, std::ios::binary);
  if (!in) fail(from.string(), ": cannot read: ", std::strerror(errno));
  AtomicFile out(to);
  std::vector<char> block(1 << 20);
  while (in.read(block.data(), static_cast<std::streamsize>(block.size())) || in.gcount() > 0)
    out.write(block.data(), static_cast<size_t>(in.gcount()));
  if (in.bad()) fail(from.string(), ": cannot read: ", std::strerror(errno));
  out.commit();
}

}  // namespace

StagedFolder::StagedFolder(fs::path final_path) : final_(std::move(final_path)) {
  if (!final_.has_filename()) final_ = final_.parent_path();  // "student/"
  if (!final_.has_filename()) fail("'", final_.string(), "' is not a folder name");
  make_directories(parent_of(final_));
  // A file of that fresh name is made and becomes the folder.
  staged_ = temporary_name(final_);
  std::error_code error;
  if (!fs::remove(staged_, error) || !fs::create_directory(staged_, error))
    fail(staged_.string(), ": cannot make this folder: ", error.message());
}

StagedFolder::~StagedFolder() {
  std::error_code ignored;
  if (!staged_.empty()) fs::remove_all(staged_, ignored);
}

void StagedFolder::commit() {
  for (const auto& entry : fs::recursive_directory_iterator(staged_)) {
    if (entry.is_directory() && !entry.is_symlink()) fsync_folder(entry.path());
  }
  fsync_folder(staged_);
  if (!fs::exists(fs::symlink_status(final_))) {
    rename_or_fail(staged_, final_);
    staged_.clear();
  } else if (::renameat2(AT_FDCWD, staged_.c_str(), AT_FDCWD, final_.c_str(), RENAME_EXCHANGE) != 0) {
    if (errno != EINVAL && errno != ENOSYS)
      fail(final_.string(), ": cannot replace this folder: ", std::strerror(errno));
    // A file system that cannot exchange names: the old folder steps aside, and back if the new one cannot
    // come.
    const fs::path aside = staged_.string() + ".old";
    rename_or_fail(final_, aside);
    if (::rename(staged_.c_str(), final_.c_str()) != 0) {
      const int error = errno;
      rename_or_fail(aside, final_);
      fail(final_.string(), ": cannot replace this folder: ", std::strerror(error));
    }
    staged_ = aside;
  }
  fsync_folder(parent_of(final_));
  if (!staged_.empty()) {  // it holds the old folder now
    std::error_code error;
    fs::remove_all(staged_, error);
    if (error) fail(staged_.string(), ": cannot remove what the new folder replaced: ", error.message());
    staged_.clear();
  }
}

void copy_folder(const fs::path& from, const fs::path& to) {
  make_directories(to);
  for (const auto& entry : fs::directory_iterator(from)) {
    const fs::path target = to / entry.path().filename();
    if (entry.is_directory()) {
      copy_folder(entry.path(), target);
    } else {
      copy_one_file(entry.path(), target);
    }
  }
}

int64_t folder_bytes(const fs::path& folder) {
  int64_t bytes = 0;
  for (const auto& entry :
       fs::recursive_directory_iterator(folder, fs::directory_options::follow_directory_symlink)) {
    if (entry.is_regular_file()) bytes += static_cast<int64_t>(entry.file_size());
  }
  return bytes;
}

}  // namespace wandistill
