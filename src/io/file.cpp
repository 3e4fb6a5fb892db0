#include "wandistill/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cctype>
#include <cerrno>
#include <cstring>
#include <random>

#include "wandistill/error.h"
#include "wandistill/fault.h"

namespace wandistill {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void fail_errno(const char* what, const fs::path& path, int error = errno) {
  fail(path.string(), ": cannot ", what, ": ", std::strerror(error));
}

fs::path folder_of(const fs::path& path) {
  return path.has_parent_path() ? path.parent_path() : fs::path(".");
}

/// A file descriptor that is closed in the end.
struct Descriptor {
  int fd = -1;
  ~Descriptor() {
    if (fd >= 0) ::close(fd);
  }
};

/// Creates a new file with a name that nobody else (another rank, another host) has.
std::pair<int, fs::path> open_temporary(const fs::path& path) {
  if (!path.has_filename()) fail("'", path.string(), "' is not a file name");
  std::random_device random;
  for (;;) {
    char suffix[24];
    std::snprintf(suffix, sizeof suffix, ".%08x%08x.tmp", random(), random());
    fs::path temporary = folder_of(path) / cat('.', path.filename().string(), suffix);
    const int fd = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd >= 0) return {fd, std::move(temporary)};
    if (errno != EEXIST) fail_errno("write here", path);
  }
}

/// Makes new names in the folder of `path` last, and names that are gone stay gone.
void sync_folder_of(const fs::path& path) {
  const Descriptor folder{::open(folder_of(path).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  // Some network file systems cannot fsync a folder (EINVAL); there the rename itself has to do.
  if (folder.fd < 0 || (::fsync(folder.fd) != 0 && errno != EINVAL)) fail_errno("fsync the folder of", path);
}

/// The rename and what makes it last.
void put_in_place(const fs::path& temporary, const fs::path& path) {
  if (fault_strikes("rename")) fail_errno("rename the finished file to this name", path, EIO);
  if (::rename(temporary.c_str(), path.c_str()) != 0)
    fail_errno("rename the finished file to this name", path);
  sync_folder_of(path);
}

/// What was written to the closed file `temporary` is on the disk.
void sync_finished(const fs::path& temporary, const fs::path& path) {
  const Descriptor file{::open(temporary.c_str(), O_RDONLY | O_CLOEXEC)};
  if (file.fd < 0) fail_errno("open the finished file", temporary);
  if (::fsync(file.fd) != 0) fail_errno("write", path);
}

}  // namespace

AtomicFile::AtomicFile(fs::path path) : path_(std::move(path)) {
  auto [fd, temporary] = open_temporary(path_);
  temporary_ = std::move(temporary);
  file_ = ::fdopen(fd, "wb");
  if (file_ == nullptr) {
    const int error = errno;
    ::close(fd);
    ::unlink(temporary_.c_str());
    fail_errno("write", path_, error);
  }
}

AtomicFile::~AtomicFile() {
  if (file_ != nullptr) std::fclose(file_);
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

void AtomicFile::write(const void* data, size_t bytes) {
  WD_REQUIRE(file_ != nullptr);
  if (fault_strikes("write")) fail_errno("write", path_, ENOSPC);
  if (bytes > 0 && std::fwrite(data, 1, bytes, file_) != bytes) fail_errno("write", path_);
}

void AtomicFile::commit() {
  WD_REQUIRE(file_ != nullptr);
  if (std::fflush(file_) != 0 || ::fsync(::fileno(file_)) != 0) fail_errno("write", path_);
  std::FILE* closing = file_;
  file_ = nullptr;
  if (std::fclose(closing) != 0) fail_errno("write", path_);
  put_in_place(temporary_, path_);
  temporary_.clear();
}

void write_file_atomically(const fs::path& path, std::string_view content) {
  AtomicFile file(path);
  file.write(content);
  file.commit();
}

std::string read_file(const fs::path& path) {
  if (fault_strikes("read")) fail_errno("read", path, EIO);
  const Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  struct stat status;
  if (file.fd < 0 || ::fstat(file.fd, &status) != 0) fail_errno("read", path);
  if (S_ISDIR(status.st_mode)) fail_errno("read", path, EISDIR);
  std::string content;
  char block[1 << 16];
  for (;;) {
    const ssize_t count = ::read(file.fd, block, sizeof block);
    if (count == 0) return content;
    if (count > 0) content.append(block, static_cast<size_t>(count));
    if (count < 0 && errno != EINTR) fail_errno("read", path);
  }
}

void make_directories(const fs::path& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error) fail(path.string(), ": cannot make this folder: ", error.message());
  if (!fs::is_directory(path)) fail(path.string(), ": cannot make this folder: a file has that name");
}

namespace {

std::string megabytes(uint64_t bytes) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f MB", static_cast<double>(bytes) / 1e6);
  return text;
}

/// As open_temporary makes them, also for folders and for what those replace.
bool is_temporary(const std::string& name) {
  constexpr size_t kDigits = 16;
  const size_t end = name.ends_with(".tmp.old") ? name.size() - 8
                     : name.ends_with(".tmp")   ? name.size() - 4
                                                : 0;
  if (end < kDigits + 2 || name[0] != '.' || name[end - kDigits - 1] != '.') return false;
  for (size_t i = end - kDigits; i < end; ++i)
    if (!std::isxdigit(static_cast<unsigned char>(name[i]))) return false;
  return true;
}

}  // namespace

void require_space(const fs::path& path, int64_t bytes) {
  std::error_code error;
  const fs::space_info space = fs::space(folder_of(path), error);
  if (error) fail(path.string(), ": cannot find out how much space its disk has: ", error.message());
  if (space.available < static_cast<uint64_t>(bytes))
    fail(path.string(), ": it takes ", megabytes(static_cast<uint64_t>(bytes)), " and its disk has ",
         megabytes(space.available), " left; nothing was written");
}

std::vector<fs::path> remove_temporaries(const fs::path& folder) {
  std::vector<fs::path> removed;
  if (!fs::is_directory(folder)) return removed;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (!is_temporary(entry.path().filename().string())) continue;
    std::error_code error;
    fs::remove_all(entry.path(), error);
    if (error) fail(entry.path().string(), ": cannot remove what an earlier run left: ", error.message());
    removed.push_back(entry.path());
  }
  return removed;
}

fs::path temporary_name(const fs::path& path) {
  auto [fd, temporary] = open_temporary(path);
  ::close(fd);
  return std::move(temporary);
}

void commit_file(const fs::path& temporary, const fs::path& path) {
  sync_finished(temporary, path);
  put_in_place(temporary, path);
}

bool commit_new_file(const fs::path& temporary, const fs::path& path) {
  sync_finished(temporary, path);
  if (::link(temporary.c_str(), path.c_str()) != 0) {
    if (errno != EEXIST) fail_errno("link the finished file to this name", path);
    // Network file systems may answer so to a call that they were sent twice: is it our file that has the
    // name?
    struct stat ours, theirs;
    if (::stat(temporary.c_str(), &ours) != 0 || ::stat(path.c_str(), &theirs) != 0 ||
        ours.st_ino != theirs.st_ino || ours.st_dev != theirs.st_dev)
      return false;
  }
  if (::unlink(temporary.c_str()) != 0 && errno != ENOENT)
    fail_errno("remove this temporary file", temporary);
  sync_folder_of(path);
  return true;
}

void remove_file(const fs::path& path) {
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) fail_errno("remove this file", path);
  sync_folder_of(path);
}

}  // namespace wandistill
