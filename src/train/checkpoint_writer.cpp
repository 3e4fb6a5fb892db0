#include "src/train/checkpoint_writer.h"

#include <signal.h>

#include <chrono>
#include <utility>

#include "wandistill/fault.h"
#include "wandistill/stage.h"

namespace wandistill {
namespace {

/// Threads that are started while it lives begin with all signals blocked.
class SignalsBlocked {
 public:
  SignalsBlocked() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before_);
  }
  ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

 private:
  sigset_t before_;
};

}  // namespace

CheckpointWriter::CheckpointWriter(const Compute& compute, const ParameterLayout& layout,
                                   RunIdentity identity, std::string effective_config)
    : compute_(compute),
      layout_(layout),
      identity_(std::move(identity)),
      effective_config_(std::move(effective_config)) {
  const SignalsBlocked blocked;
  thread_ = std::thread([this] { run(); });
}

CheckpointWriter::~CheckpointWriter() {
  try {
    wait_until_idle();
  } catch (const std::exception&) {  // the device failed: its copy will not come
  }
  {
    const std::lock_guard lock(mutex_);
    finished_ = true;
    changed_.notify_all();
  }
  thread_.join();
}

void CheckpointWriter::save(const TrainingCounters& counters, const WholeSection& section,
                            std::vector<Target> targets) {
  wait_until_idle();
  const Stage stage("checkpoint copy");
  const int64_t n = layout_.total();
  targets_ = std::move(targets);
  counters_ = counters;
  float* room = nullptr;
  try {
    room = room_for_copy();
  } catch (const std::exception& error) {
    const std::lock_guard lock(mutex_);
    for (const Target& target : targets_)
      reports_.push_back({.file = target.file,
                          .step = counters_.step,
                          .error = cat(target.file.string(), ": cannot copy the state: ", error.what())});
  }
  for (size_t i = 0; i < kSections.size(); ++i) {
    const float* whole = section(i);
    if (room) copy(compute_, room + int64_t(i) * n, whole, n);
  }
  if (!room) return;
  copying_ = true;
  if (compute_.on_host())
    hand_over();
  else
    compute_.stream->record(*copied_);
}

float* CheckpointWriter::room_for_copy() {
  const int64_t n = int64_t(kSections.size()) * layout_.total();
  if (compute_.on_host()) {
    if (host_copy_.empty()) host_copy_ = Buffer<float>(n);
    return host_copy_.data();
  }
  if (!pinned_copy_.size()) pinned_copy_ = PinnedBuffer<float>(*compute_.device, n);
  if (!copied_) copied_ = compute_.device->make_event();
  return pinned_copy_.data();
}

void CheckpointWriter::hand_over() {
  copying_ = false;
  const std::lock_guard lock(mutex_);
  writing_ = true;
  changed_.notify_all();
}

std::vector<CheckpointReport> CheckpointWriter::poll() {
  if (copying_ && copied_->reached()) hand_over();
  const std::lock_guard lock(mutex_);
  return std::exchange(reports_, {});
}

void CheckpointWriter::wait_until_idle() {
  if (copying_) {
    copied_->synchronize();
    hand_over();
  }
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return !writing_; });
}

std::vector<CheckpointReport> CheckpointWriter::finish() {
  wait_until_idle();
  host_copy_ = {};
  pinned_copy_ = {};
  return poll();
}

void CheckpointWriter::run() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [&] { return writing_ || finished_; });
    if (!writing_) return;
    for (const Target& target : targets_) {
      lock.unlock();
      CheckpointReport report = write(target);
      lock.lock();
      reports_.push_back(std::move(report));
    }
    writing_ = false;
    changed_.notify_all();
  }
}

CheckpointReport CheckpointWriter::write(const Target& target) const {
  using Clock = std::chrono::steady_clock;
  const Stage stage("checkpoint");
  const auto start = Clock::now();
  CheckpointReport report{.file = target.file, .step = counters_.step, .error = {}};
  const int64_t n = layout_.total();
  const float* copy = compute_.on_host() ? host_copy_.data() : pinned_copy_.data();
  try {
    fault_point("checkpoint", counters_.step);
    save_checkpoint(target.file, layout_, counters_, {copy, copy + n, copy + 2 * n, copy + 3 * n}, identity_,
                    effective_config_);
    if (target.prune) prune_checkpoints(target.file.parent_path(), *target.prune, counters_.step);
  } catch (const std::exception& error) {
    report.error = error.what();
  }
  report.seconds = std::chrono::duration<double>(Clock::now() - start).count();
  return report;
}

}  // namespace wandistill
