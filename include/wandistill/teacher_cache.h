// The teacher cache: what the teacher drew for every prompt, in HDF5 shards that the student trains from.
#pragma once

#include <cstdint>
#include <deque>
#include <filesystem>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "wandistill/guided_sampler.h"
#include "wandistill/h5.h"
#include "wandistill/json.h"
#include "wandistill/options.h"
#include "wandistill/pipeline.h"
#include "wandistill/session.h"

namespace wandistill {

/// Everything that a trajectory depends on beside its prompt and repetition.
struct CacheSettings {
  uint64_t teacher_fingerprint = 0;
  std::string sampler;  // ddim | unipc
  int64_t steps = 0;
  double guidance = 0, guidance_2 = 0, flow_shift = 0, boundary_ratio = 0;
  std::string negative_prompt;
  int64_t height = 0, width = 0;  // pixels
  uint64_t seed = 0;
  std::string dtype = "float32";  // of latents and velocity in the files: float32 | bfloat16 | float16

  /// What these options mean for this teacher, whose schedule is set. height, width: pixels.
  static CacheSettings of(const TeacherOptions& options, const Pipeline& teacher, uint64_t fingerprint,
                          int64_t height, int64_t width, uint64_t seed, const std::string& dtype);
  /// As a JSON object; stored in every shard of trajectories.
  Json to_json() const;
  /// What text embeddings depend on beside the prompt; stored in their shards.
  Json text_json() const;
};

/// One trajectory: a prompt from one noise.
struct CacheItem {
  std::string prompt;
  int64_t repetition = 0;
  /// The Philox stream of its noise: depends on prompt and repetition alone, not on the order of a prompt
  /// file.
  uint64_t noise_stream() const;
  auto operator<=>(const CacheItem&) const = default;
};

/// All repetitions of the first prompt, of the second, ...
std::vector<CacheItem> cache_items(const std::vector<std::string>& prompts, int64_t repetitions);

/// The shards in a folder, sorted; none where there is no folder.
std::vector<std::filesystem::path> cache_files(const std::filesystem::path& folder);

struct Trajectory;
struct TrajectoryIndex;
struct TextIndex;
struct PromptText;

/// A folder of shards, each complete or absent, sealed (file_seal.h). shard_*.h5 has n trajectories of P
/// points:
///   settings           JSON of CacheSettings
///   prompt [n] strings, repetition [n] int64
///   sigma [P]          noise level of each point
///   latents, velocity  [n * P, C, h, w]: x at each point and the teacher's guided velocity there
///   x0 [n, C, h, w]
///   checksum [n] uint64, rounding [n, 2]: relative error of latents and velocity in the stored type
/// and text_*.h5 the embeddings of n prompts, each once in the whole folder:
///   settings           JSON: the teacher's fingerprint
///   prompt [n] strings
///   text/rows [sum of tokens, Dt], text/offsets [n + 1] int64: without padding
///   text/checksum [n] uint64
/// Shards from before these had the texts of their prompts inside, no checksums and no seal; they are read
/// too.
class TeacherCache {
 public:
  /// Opens every shard of the folder (none is fine). A shard that is damaged or was made with other settings
  /// is an error naming it and the setting. Not collective.
  TeacherCache(const std::filesystem::path& folder, const CacheSettings& settings);
  /// The same with the settings of the first shard.
  explicit TeacherCache(const std::filesystem::path& folder);
  ~TeacherCache();

  /// Takes in shards that have come since.
  void refresh();

  /// Trajectories in the cache; `find` gives -1 if there is none.
  int64_t items() const { return int64_t(items_.size()); }
  const CacheItem& item(int64_t index) const { return items_[size_t(index)].item; }
  int64_t find(const CacheItem& item) const;
  /// Points per trajectory and their sigmas (of the first shard; all agree).
  int64_t points() const { return int64_t(sigmas_.size()); }
  const std::vector<float>& sigmas() const { return sigmas_; }
  /// Of all shards of trajectories; null if there are none.
  const Json& settings() const { return settings_; }
  const Json& text_settings() const { return text_settings_; }
  /// Prompts that have an embedding, sorted.
  std::vector<std::string> texts() const;
  /// The shards' files, trajectories first; and how many there are.
  std::vector<std::filesystem::path> files() const { return {known_.begin(), known_.end()}; }
  size_t shards() const { return shards_.size(); }
  /// Trajectories that are in more than one shard.
  int64_t duplicates() const { return duplicates_; }
  /// Checksum of a record as its shard has it; 0 in shards without.
  uint64_t checksum(int64_t index) const;
  /// Relative error of a record's latents and velocity in the stored type.
  std::pair<float, float> rounding(int64_t index) const;

  /// latents and velocity [C, h, w] at one point of a trajectory.
  void read_point(int64_t index, int64_t point, float* latents, float* velocity) const;
  void read_x0(int64_t index, float* x0) const;
  /// Of the item's prompt.
  TextEmbedding read_text(int64_t index) const { return read_text(item(index).prompt); }
  bool has_text(const std::string& prompt) const { return texts_.contains(prompt); }
  TextEmbedding read_text(const std::string& prompt) const;
  /// Of a prompt that has an embedding; and the embeddings' width, 0 if there are none.
  int64_t tokens(const std::string& prompt) const;
  int64_t text_dim() const;
  /// The whole record, its checksum verified.
  Trajectory read_trajectory(int64_t index) const;
  /// Of a record: [C, h, w].
  const Shape& picture() const;

 private:
  struct Shard;
  struct Entry {
    CacheItem item;
    size_t shard;
    int64_t row;
  };
  struct TextEntry {
    size_t shard;
    int64_t row;
  };
  void add_shard(const std::filesystem::path& file);
  const H5File& open(size_t shard) const;

  std::filesystem::path folder_;
  Json settings_, text_settings_;  // null: those of the first shard
  std::set<std::filesystem::path> known_;
  std::vector<std::unique_ptr<Shard>> shards_;
  mutable std::deque<size_t> open_;  // shards whose files are open, the one opened first in front
  std::vector<Entry> items_;
  std::map<CacheItem, int64_t> index_;
  std::map<std::string, TextEntry> texts_;
  std::vector<float> sigmas_;
  int64_t duplicates_ = 0;
};

/// The number type of a cache: `chosen`, or for "auto" that of the shards in the folder (float32 if there are
/// none).
std::string cache_dtype(const std::filesystem::path& folder, const std::string& chosen);
/// What rank 0 finds it to be. Collective.
std::string choose_cache_dtype(Session& session, const std::filesystem::path& folder,
                               const std::string& chosen);

/// Completes the cache in `folder` for every prompt and repetition. First the missing text embeddings, then,
/// without the text encoder in memory, the missing trajectories, options.teacher_batch at a time. Ranks and
/// other jobs that fill the same folder divide them by claims (src/teacher/leases.h): each rank begins with
/// every W-th, then takes what is left, also of jobs that have died, and waits for what others are computing.
/// A record has the same bits whoever computes it. Memory beside the model: one shard. Collective. False if a
/// signal stopped it, within a denoising step; what was computed is kept.
bool fill_teacher_cache(Session& session, const std::filesystem::path& folder, const CacheSettings& settings,
                        Pipeline& teacher, const std::vector<std::string>& prompts,
                        const CacheOptions& options, const StopSignals& stop, const Compute& compute);

}  // namespace wandistill
