// What is in one shard of the teacher cache: records, each with its checksum.
#pragma once

#include <span>

#include "src/teacher/stored_values.h"
#include "wandistill/teacher_cache.h"

namespace wandistill {

/// One record: a trajectory of P points, in numbers that the shard's type represents.
struct Trajectory {
  CacheItem item;
  std::vector<float> latents, velocity;  // [P, C, h, w]
  std::vector<float> x0;                 // [C, h, w]
  float rounding[2] = {0, 0};            // relative error of latents and velocity in that type

  /// Rounds to the type and states the error.
  void round_to(StoredDtype dtype);
};

/// What a shard of trajectories says of itself; a few hundred bytes per record.
struct TrajectoryIndex {
  std::string settings;  // JSON of CacheSettings
  StoredDtype dtype = StoredDtype::kFloat32;
  std::vector<CacheItem> items;
  std::vector<float> sigmas;        // [P]
  Shape picture;                    // [C, h, w]
  std::vector<uint64_t> checksums;  // by record; empty in shards made before there were any
  std::vector<float> rounding;      // [n, 2]; empty there too

  /// Error naming the file where it is damaged.
  static TrajectoryIndex read(const H5File& file);
  int64_t size() const { return int64_t(items.size()); }
  int64_t points() const { return int64_t(sigmas.size()); }
};

/// The record of this row. Error where the file is damaged there, as far as HDF5 or the checksum can tell.
Trajectory read_trajectory(const H5File& file, const TrajectoryIndex& index, int64_t row);
void write_trajectories(H5File& file, const std::string& settings, StoredDtype dtype,
                        const std::vector<float>& sigmas, const Shape& picture,
                        std::span<const Trajectory> records);

/// The other kind of record.
struct PromptText {
  std::string prompt;
  TextEmbedding text;
};

struct TextIndex {
  std::string settings;  // JSON: the teacher's fingerprint
  std::vector<std::string> prompts;
  std::vector<int64_t> offsets;  // [n + 1]
  int64_t text_dim = 0;
  std::vector<uint64_t> checksums;

  /// Also of a shard of trajectories from before the texts had shards of their own: then with its prompts;
  /// without any where there are none in it.
  static TextIndex read(const H5File& file);
  int64_t size() const { return int64_t(prompts.size()); }
};

PromptText read_text(const H5File& file, const TextIndex& index, int64_t row);
void write_texts(H5File& file, const std::string& settings, int64_t text_dim,
                 std::span<const PromptText> records);

}  // namespace wandistill
