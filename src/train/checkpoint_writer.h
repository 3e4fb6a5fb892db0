// Writes checkpoints while training goes on.
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>

#include "src/train/training_state.h"
#include "wandistill/compute.h"

namespace wandistill {

/// A section of the state (kSections) where the queue works, whole [layout.total()], until it is asked for
/// the next one. Where ranks share the state it is collective.
using WholeSection = std::function<const float*(size_t section)>;

/// One file: on the disk, or not and why.
struct CheckpointReport {
  std::filesystem::path file;
  int64_t step = 0;
  double seconds = 0;  // of writing
  std::string error;   // empty: it is on the disk
};

/// A thread, which blocks all signals, and room for one copy of the state, 16 bytes per parameter, from the
/// first save() on: who saves faster than the disk takes waits in save(). On a device the copy goes to pinned
/// memory, in the order of the queue's stream. What fails is reported and nothing else: no exception, no
/// older file touched.
class CheckpointWriter {
 public:
  /// What the files hold besides the state. compute and layout outlive this.
  CheckpointWriter(const Compute& compute, const ParameterLayout& layout, RunIdentity identity,
                   std::string effective_config);
  /// Waits until all is written.
  ~CheckpointWriter();
  CheckpointWriter(const CheckpointWriter&) = delete;
  CheckpointWriter& operator=(const CheckpointWriter&) = delete;

  struct Target {
    std::filesystem::path file;
    std::optional<KeepCheckpoints> prune;  // when it is there, of the older ones in its folder
  };
  /// Copies the state, section by section, which may change after the call (on a device: by what is enqueued
  /// after it), and has it written to these files, one after the other. Asks for every section once, whatever
  /// fails.
  void save(const TrainingCounters& counters, const WholeSection& section, std::vector<Target> targets);
  /// What was written or failed since the last call. Does not wait. On a device the writing starts in the
  /// first poll() that finds the copy done.
  std::vector<CheckpointReport> poll();
  /// The same, when all is written. Frees the room for the copy.
  std::vector<CheckpointReport> finish();

 private:
  float* room_for_copy();
  /// The copy is complete.
  void hand_over();
  void wait_until_idle();
  void run();
  CheckpointReport write(const Target& target) const;

  const Compute& compute_;
  const ParameterLayout& layout_;
  const RunIdentity identity_;
  const std::string effective_config_;

  Buffer<float> host_copy_;  // [4 * layout.total()], one of the two
  PinnedBuffer<float> pinned_copy_;
  std::unique_ptr<Event> copied_;
  bool copying_ = false;
  TrainingCounters counters_;
  std::vector<Target> targets_;

  std::mutex mutex_;
  std::condition_variable changed_;
  bool writing_ = false,
       finished_ = false;  // by mutex_, as the reports; what is above is the thread's while writing_
  std::vector<CheckpointReport> reports_;
  std::thread thread_;
};

}  // namespace wandistill
