// The stage of the teacher cache that samples trajectories.
#pragma once

#include <optional>
#include <span>

#include "src/teacher/cache_shard.h"
#include "src/teacher/cache_stage.h"

namespace wandistill {

class TrajectoryStage : public CacheStage {
 public:
  /// items: those without a trajectory in the cache, which has the texts of all and of the negative prompt.
  /// They outlive this.
  TrajectoryStage(const FillJob& job, const std::vector<CacheItem>& items);
  /// Collective: rank 0 prints how much rounding to a 16-bit type has changed what this job computed.
  void say_rounding() const;

 private:
  void prepare() override;
  bool present(int64_t piece) const override { return job_.cache.find(items_[size_t(piece)]) >= 0; }
  /// Pieces of several batches: all of them with the high-noise expert, then all with the low-noise one.
  bool compute(const std::vector<int64_t>& pieces) override;
  int64_t kept_bytes() const override;
  void write(H5File& file) override;
  void drop() override { records_.clear(); }
  void finish(Trajectory* record, const float* x0);
  struct Batch;
  Batch start(std::span<const int64_t> pieces);
  bool advance(Batch& batch, int64_t end);

  const std::vector<CacheItem>& items_;
  StoredDtype dtype_;
  Shape picture_;  // [C, h, w]
  SamplingSettings sampling_;
  TextEmbedding negative_;
  std::optional<GuidedVelocity> velocity_;
  std::vector<float> sigmas_;
  Buffer<float> latents_, cond_, uncond_;  // of a batch, on their way to the host
  std::vector<Trajectory> records_;
  int64_t rounded_ = 0;
  double rounding_squares_[2] = {0, 0}, rounding_most_[2] = {0, 0};  // of latents and velocity
};

}  // namespace wandistill
