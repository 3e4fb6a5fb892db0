// The teacher cache: what the teacher drew for every prompt, in HDF5 shards that the student trains from.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "wandistill/guided_sampler.h"
#include "wandistill/h5.h"
#include "wandistill/json.h"
#include "wandistill/pipeline.h"
#include "wandistill/session.h"

namespace wandistill {

/// Everything that a trajectory depends on beside its prompt and repetition.
struct CacheSettings {
  uint64_t teacher_fingerprint = 0;
  std::string sampler;  // ddim | unipc
  int64_t steps = 0;
  double guidance = 0, guidance_2 = 0, flow_shift = 0;
  std::string negative_prompt;
  int64_t height = 0, width = 0;  // pixels
  uint64_t seed = 0;

  /// As a JSON object; stored in every shard.
  Json to_json() const;
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

/// A folder of shards, shard_rank_R_NNNN.h5, each complete or absent. A shard of n trajectories with P points
/// holds
///   settings           JSON of CacheSettings
///   prompt [n] strings, repetition [n] int64
///   text/rows [sum of tokens, Dt], text/offsets [n + 1] int64: embeddings without padding
///   sigma [P]          noise level of each point
///   latents, velocity  [n * P, C, h, w]: x at each point and the teacher's guided velocity there
///   x0 [n, C, h, w]
class TeacherCache {
 public:
  /// Opens every shard of the folder (none is fine). A shard that is damaged or was made with other settings
  /// is an error naming it and the setting. Not collective.
  TeacherCache(const std::filesystem::path& folder, const CacheSettings& settings);

  /// Trajectories in the cache; `find` gives -1 if there is none.
  int64_t items() const { return int64_t(items_.size()); }
  const CacheItem& item(int64_t index) const { return items_[size_t(index)].item; }
  int64_t find(const CacheItem& item) const;
  /// Points per trajectory and their sigmas (of the first shard; all agree).
  int64_t points() const { return int64_t(sigmas_.size()); }
  const std::vector<float>& sigmas() const { return sigmas_; }

  /// latents and velocity [C, h, w] at one point of a trajectory.
  void read_point(int64_t index, int64_t point, float* latents, float* velocity) const;
  void read_x0(int64_t index, float* x0) const;
  TextEmbedding read_text(int64_t index) const;

 private:
  struct Entry {
    CacheItem item;
    size_t shard;
    int64_t row, text_begin, text_end;
  };
  void open_shard(const std::filesystem::path& file, const Json& settings);

  std::vector<std::unique_ptr<H5File>> shards_;
  std::vector<Entry> items_;
  std::map<CacheItem, int64_t> index_;
  std::vector<float> sigmas_;
  int64_t text_dim_ = 0;
};

/// Completes the cache in `folder` for every prompt and repetition: the missing trajectories are dealt over
/// the ranks, item i to rank i mod W, `batch` at a time. Collective. False if a signal stopped it; what was
/// computed is kept.
bool fill_teacher_cache(Session& session, const std::filesystem::path& folder, const CacheSettings& settings,
                        Pipeline& teacher, const std::vector<std::string>& prompts, int64_t repetitions,
                        int64_t batch, const StopSignals& stop, const Compute& compute);

}  // namespace wandistill
