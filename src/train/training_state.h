// Everything that a checkpoint holds.
#pragma once

#include <array>
#include <filesystem>
#include <string>
#include <vector>

#include "wandistill/error.h"
#include "wandistill/op_memory.h"
#include "wandistill/ops/optimizer.h"
#include "wandistill/shard.h"
#include "wandistill/wan_config.h"

namespace wandistill {

struct TrainingCounters {
  int64_t step = 0;      // optimizer steps done
  int64_t epoch = 0;     // epochs done
  int64_t position = 0;  // samples of the current epoch done
  double elapsed = 0;    // seconds of training so far
  UpdateState update;    // counts the updates and the steps skipped
  double best_validation = 1e300;
};

/// The sections of a checkpoint that have one number per parameter.
inline constexpr std::array<const char*, 4> kSections = {"weights", "m", "v", "ema"};
inline constexpr size_t kEmaSection = 3;

struct TrainingState : TrainingCounters {
  OpBuffer<float> weights, m, v, ema;  // flat, as ParameterLayout says: what a Shard keeps of it

  /// In the order of kSections.
  std::array<OpBuffer<float>*, 4> sections() { return {&weights, &m, &v, &ema}; }
  std::array<const OpBuffer<float>*, 4> sections() const { return {&weights, &m, &v, &ema}; }
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

/// Writes a checkpoint: logical tensors by name, the counters, the identity and the effective configuration
/// (text), each with its checksum. buffers: on the host, by section. It comes into being under a temporary
/// name, is fsynced and renamed, and the folder is fsynced: a file of this name is complete, and no other
/// mark is needed that could be there without it. Error if the disk has no room for it.
void save_checkpoint(const std::filesystem::path& file, const ParameterLayout& layout,
                     const TrainingCounters& counters, const std::array<const float*, 4>& buffers,
                     const RunIdentity& identity, const std::string& effective_config);
/// What the shard keeps, into the host's memory, and beside it for a while the largest tensor. Reads all of
/// the file. Throws Error naming the file and what is damaged; ForeignCheckpoint naming what differs from
/// `identity`.
TrainingState load_checkpoint(const std::filesystem::path& file, const ParameterLayout& layout,
                              const RunIdentity& identity, const Shard& shard);
/// The same with the counters and the averaged weights alone, whole; the other sections stay empty.
TrainingState load_averaged_weights(const std::filesystem::path& file, const ParameterLayout& layout,
                                    const RunIdentity& identity);

/// folder/step_%08d.h5
std::filesystem::path checkpoint_file(const std::filesystem::path& folder, int64_t step);
/// The checkpoints of a folder by step, newest first.
std::vector<std::filesystem::path> list_checkpoints(const std::filesystem::path& folder);
/// Which checkpoints stay when a new one is there.
struct KeepCheckpoints {
  int64_t newest = 3;
  int64_t every_steps = 0;  // those of every multiple of so many steps, for good; 0: none
};
/// Removes the others up to `step`. Those of later steps were passed over (damaged): they count for nothing
/// and stay until training gets there.
void prune_checkpoints(const std::filesystem::path& folder, const KeepCheckpoints& keep, int64_t step);

}  // namespace wandistill
