#include "src/train/append_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "wandistill/error.h"
#include "wandistill/fault.h"
#include "wandistill/progress.h"

namespace wandistill {
namespace {

constexpr size_t kMostWaiting = size_t(1) << 20;  // bytes

}  // namespace

AppendFile::AppendFile(std::filesystem::path path)
    : path_(std::move(path)), fd_(::open(path_.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666)) {
  struct stat status;
  if (fd_ < 0 || ::fstat(fd_, &status) != 0)
    fail(path_.string(), ": cannot be opened for appending: ", std::strerror(errno));
  char last = '\n';
  if (status.st_size > 0 && ::pread(fd_, &last, 1, status.st_size - 1) == 1 && last != '\n') waiting_ = "\n";
}

AppendFile::~AppendFile() {
  flush();
  ::close(fd_);
}

void AppendFile::append(const std::string& entry) {
  waiting_ += entry;
  if (flush()) {
    if (failing_) print_line(cat(path_.string(), ": is written again, ", lost_, " entries were lost"));
    failing_ = false;
    lost_ = 0;
    return;
  }
  if (!failing_)
    print_line(cat(path_.string(), ": cannot write: ", std::strerror(errno),
                   "; up to 1 MiB is kept until it can, what comes later is lost"));
  failing_ = true;
  if (waiting_.size() <= kMostWaiting) return;
  waiting_.resize(waiting_.size() - entry.size());
  ++lost_;
}

bool AppendFile::flush() {
  struct stat before;
  if (waiting_.empty()) return true;
  if (fault_strikes("log")) {
    errno = ENOSPC;
    return false;
  }
  if (::fstat(fd_, &before) != 0) return false;
  const ssize_t count = ::write(fd_, waiting_.data(), waiting_.size());
  if (count == ssize_t(waiting_.size())) {
    waiting_.clear();
    return true;
  }
  if (count >= 0) errno = ENOSPC;
  const int error = errno;
  if (count > 0 && ::ftruncate(fd_, before.st_size) != 0) waiting_.erase(0, size_t(count));
  errno = error;
  return false;
}

}  // namespace wandistill
