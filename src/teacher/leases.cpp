#include "src/teacher/leases.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <random>
#include <vector>

#include "src/teacher/process_identity.h"
#include "wandistill/error.h"

namespace wandistill {
namespace {

namespace fs = std::filesystem;

constexpr int kTouchesPerLease = 6;

std::string random_name() {
  std::random_device random;
  char text[20];
  std::snprintf(text, sizeof text, "%08x%08x", random(), random());
  return text;
}

struct Descriptor {
  int fd;
  ~Descriptor() {
    if (fd >= 0) ::close(fd);
  }
};

double seconds_of(const timespec& time) {
  return double(time.tv_sec) + 1e-9 * double(time.tv_nsec);
}

/// The file's time of modification becomes the file system's now.
bool touch(const fs::path& file) {
  return ::utimensat(AT_FDCWD, file.c_str(), nullptr, 0) == 0;
}

}  // namespace

Leases::Leases(fs::path folder, double seconds, const std::string& job, int rank)
    : folder_(std::move(folder)), seconds_(seconds), identity_(process_identity()) {
  identity_["job"] = job;
  identity_["rank"] = rank;
  id_ = cat(identity_["host"].get<std::string>(), "-", identity_["pid"].get<int64_t>(), "-", random_name());
  make_alive();
  thread_ = std::thread([this] { heartbeat(); });
}

Leases::~Leases() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
    changed_.notify_all();
  }
  thread_.join();
  release_all();
  ::unlink(unfinished().c_str());
  ::unlink(alive().c_str());
}

fs::path Leases::unfinished() const {
  return folder_ / ("." + id_ + ".tmp");
}

/// Until the text is in it only its age counts.
void Leases::make_alive() {
  const std::string text = identity_.dump() + "\n";
  const Descriptor file{::open(alive().c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666)};
  if (file.fd < 0 || ::write(file.fd, text.data(), text.size()) != ssize_t(text.size()))
    fail(alive().string(), ": cannot write: ", std::strerror(errno));
}

void Leases::heartbeat() {
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, nullptr);  // signals are the main thread's
  const auto interval = std::chrono::duration<double>(seconds_ / kTouchesPerLease);
  std::unique_lock lock(mutex_);
  while (!changed_.wait_for(lock, interval, [&] { return ending_; })) touch(alive());
}

bool Leases::claim(const std::string& key) {
  for (int attempt = 0; attempt < 2; ++attempt) {
    if (::link(alive().c_str(), claim_file(key).c_str()) == 0) {
      held_.insert(key);
      return true;
    }
    if (errno == EEXIST) return false;
    if (errno != ENOENT)
      fail(claim_file(key).string(), ": cannot claim work by a hard link: ", std::strerror(errno),
           "; choose a folder on a file system that has them");
    make_alive();  // somebody took us for dead
  }
  fail(claim_file(key).string(), ": cannot claim work: the folder is gone");
}

void Leases::release(const std::string& key) {
  if (held_.erase(key) == 0) return;
  // Whoever took us for dead may have a claim of his own there.
  struct stat ours, found;
  if (::stat(alive().c_str(), &ours) == 0 && ::stat(claim_file(key).c_str(), &found) == 0 &&
      ours.st_ino == found.st_ino)
    ::unlink(claim_file(key).c_str());
}

void Leases::release_all() {
  while (!held_.empty()) release(std::string(*held_.begin()));
}

Leases::Status Leases::status_of(const fs::path& file, struct stat* found) const {
  char text[1024] = {};
  {
    // Opened once, so that text and times are of one file; and so that network file systems ask their server.
    const Descriptor opened{::open(file.c_str(), O_RDONLY | O_CLOEXEC)};
    if (opened.fd < 0 || ::fstat(opened.fd, found) != 0 || ::read(opened.fd, text, sizeof text - 1) < 0)
      return {Holder::kNobody, ""};
  }
  struct stat now;
  const bool expired = touch(alive()) && ::stat(alive().c_str(), &now) == 0 &&
                       seconds_of(now.st_mtim) - seconds_of(found->st_mtim) > seconds_;
  const Json identity = Json::parse(text, nullptr, false);
  if (!identity.is_object()) return {expired ? Holder::kDead : Holder::kOtherJob, "unknown"};
  const std::string who =
      cat("host ", identity.value("host", "unknown"), ", process ", identity.value("pid", int64_t{0}));
  if (expired || process_ended(identity)) return {Holder::kDead, who};
  return {identity.value("job", "") == identity_["job"] ? Holder::kThisJob : Holder::kOtherJob, who};
}

void Leases::look_anew() {
  if (claim(id_)) release(id_);
}

std::vector<Leases::Status> Leases::status(const std::vector<std::string>& keys) const {
  std::map<ino_t, Status> known;  // all claims of a process are one file
  std::vector<Status> all;
  for (const std::string& key : keys) {
    struct stat found;
    if (::stat(claim_file(key).c_str(), &found) != 0) {
      all.push_back({Holder::kNobody, ""});
      continue;
    }
    const auto same = known.find(found.st_ino);
    all.push_back(same != known.end() ? same->second : status_of(claim_file(key), &found));
    known.emplace(found.st_ino, all.back());
  }
  return all;
}

void Leases::remove_dead(const std::string& key) {
  remove_if_dead(claim_file(key));
}

void Leases::remove_if_dead(const fs::path& file) {
  struct stat dead, taken;
  if (status_of(file, &dead).holder != Holder::kDead) return;
  // Of all who find this out, one may rename it. If by then somebody has removed it and claimed the key, that
  // new claim is what was renamed: it goes back.
  const fs::path aside = folder_ / ("." + random_name() + ".dead");
  if (::rename(file.c_str(), aside.c_str()) != 0) return;
  if (::stat(aside.c_str(), &taken) == 0 && taken.st_ino != dead.st_ino) ::link(aside.c_str(), file.c_str());
  ::unlink(aside.c_str());
}

void Leases::sweep() {
  std::vector<fs::path> claims, owners;
  for (const auto& entry : fs::directory_iterator(folder_)) {
    const fs::path& file = entry.path();
    if (file.extension() == ".claim" || file.extension() == ".dead") claims.push_back(file);
    if (file.extension() == ".alive" && file != alive()) owners.push_back(file);
  }
  for (const fs::path& file : claims) remove_if_dead(file);
  for (const fs::path& file : owners) {
    struct stat found;
    if (status_of(file, &found).holder != Holder::kDead) continue;
    ::unlink((folder_ / ("." + file.stem().string() + ".tmp")).c_str());
    ::unlink(file.c_str());  // last: as long as it is there, the others are found
  }
}

void Leases::sweep_finished(const fs::path& folder, double seconds) {
  const fs::directory_iterator files(folder);
  const bool traces = std::any_of(begin(files), end(files), [](const fs::directory_entry& file) {
    return file.path().extension() == ".alive";
  });
  if (!traces || ::access(folder.c_str(), W_OK) != 0) return;
  try {
    Leases(folder, seconds, "", 0).sweep();
  } catch (const Error&) {  // a full disk: what lies there harms nobody
  }
}

}  // namespace wandistill
