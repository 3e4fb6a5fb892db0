// The checkpoints of one run: which to go on from, when to write, what is said of them.
#pragma once

#include <memory>
#include <optional>

#include "src/train/checkpoint_writer.h"
#include "src/train/event_log.h"
#include "wandistill/options.h"
#include "wandistill/session.h"

namespace wandistill {

/// In OUTPUT_DIR/checkpoints: step_NNNNNNNN.h5, which a run goes on from, and best.h5. Every rank reads, rank
/// 0 writes.
class RunCheckpoints {
 public:
  /// Everything that is passed by reference outlives this.
  RunCheckpoints(Session& session, const Compute& compute, const TrainOptions& options,
                 const ParameterLayout& layout, RunIdentity identity, std::string effective_config,
                 EventLog& events);

  /// As --resume says, what the shard keeps: from that file, or the newest good one; damaged ones are passed
  /// over by name. Nothing where there is none to go on from. Error if all are damaged, or of another run.
  std::optional<TrainingState> load(const Shard& shard);
  /// The best one's averaged weights and counters.
  TrainingState load_best() const;
  /// What an earlier run left here is not this run's. For rank 0.
  void remove_all() const;

  /// True if a checkpoint is due at the end of this epoch.
  bool due(int64_t epoch) const;
  /// numbered: for going on. Writes in the background (CheckpointWriter). Where ranks share the state it is
  /// collective.
  void save(const TrainingCounters& counters, const WholeSection& section, bool numbered, bool best);
  /// To be called once per step: says what was written or failed.
  void poll();
  /// Waits until all is written. True on every rank if the last numbered checkpoint was. Collective.
  bool finish();
  /// True if best.h5 is there and the last attempt to write it did not fail. For rank 0.
  bool have_best() const;

 private:
  std::filesystem::path best_file() const { return folder_ / "best.h5"; }
  void report(const std::vector<CheckpointReport>& reports);

  Session& session_;
  const TrainOptions& options_;
  const ParameterLayout& layout_;
  const RunIdentity identity_;
  const std::filesystem::path folder_;
  EventLog& events_;
  std::optional<CheckpointWriter> writer_;  // on rank 0
  bool numbered_failed_ = false, best_failed_ = false;
};

}  // namespace wandistill
