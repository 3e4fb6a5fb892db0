// Everything that a checkpoint holds.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "wandistill/error.h"
#include "wandistill/op_memory.h"
#include "wandistill/ops/optimizer.h"
#include "wandistill/wan_config.h"

namespace wandistill {

struct TrainingState {
  OpBuffer<float> weights, m, v, ema;  // flat, as ParameterLayout says
  int64_t step = 0;                    // optimizer steps done
  int64_t epoch = 0;                   // epochs done
  int64_t position = 0;                // samples of the current epoch done
  double elapsed = 0;                  // seconds of training so far
  UpdateState update;                  // counts the updates and the steps skipped
  double best_validation = 1e300;

  /// With the buffers copied from where `from` works to where `to` does; one of them is the host.
  TrainingState copied(const Queue& from, const Queue& to) const;
};

/// Identifies what a run's data order and state depend on; a checkpoint of another one is refused.
struct RunIdentity {
  std::string student;  // the student's config.json
  uint64_t seed = 0;
  int64_t batch_size = 0, samples_per_epoch = 0;
};

/// A checkpoint of another run: whole, but not to be continued by this one.
class ForeignCheckpoint : public Error {
 public:
  using Error::Error;
};

/// Writes the checkpoint, whose buffers are on the host, atomically: logical tensors by name, the counters,
/// the identity and the effective configuration (text).
void save_checkpoint(const std::filesystem::path& file, const ParameterLayout& layout,
                     const TrainingState& state, const RunIdentity& identity,
                     const std::string& effective_config);
/// Into the host's memory. Throws Error naming the file and what is damaged; ForeignCheckpoint naming what
/// differs from `identity`.
TrainingState load_checkpoint(const std::filesystem::path& file, const ParameterLayout& layout,
                              const RunIdentity& identity);

/// folder/step_%08d.h5
std::filesystem::path checkpoint_file(const std::filesystem::path& folder, int64_t step);
/// The checkpoints of a folder by step, newest first.
std::vector<std::filesystem::path> list_checkpoints(const std::filesystem::path& folder);
/// Removes all but the newest `keep`.
void prune_checkpoints(const std::filesystem::path& folder, int64_t keep);

}  // namespace wandistill
