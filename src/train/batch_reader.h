// Training batches read from the cache while the one before is computed.
#pragma once

#include <future>
#include <optional>
#include <vector>

#include "src/train/dataset.h"

namespace wandistill {

/// What Dataset::load() takes of one batch.
struct BatchRequest {
  std::vector<TrainingSample> samples;
  int64_t global_batch = 0, step = 0, first_position = 0;
  bool operator==(const BatchRequest&) const = default;
};

/// Holds one batch beside the one in use. For one thread; the dataset outlives it, and nobody else reads from
/// it between ahead() and take() or drop().
class BatchReader {
 public:
  BatchReader(const Dataset& data, const LossSettings& loss, const Shape& picture, int64_t text_dim)
      : data_(data), loss_(loss), picture_(picture), text_dim_(text_dim) {}
  ~BatchReader() { drop(); }

  /// Starts to read what take() will ask for next, in a thread that lives as long as that. One at a time.
  void ahead(BatchRequest request);
  /// The batch that was read ahead, where it is this one, or reads it now. Throws what reading it threw.
  TrainingBatch take(const BatchRequest& request);
  /// What was read ahead will not be asked for.
  void drop();

 private:
  TrainingBatch read(const BatchRequest& request) const;

  const Dataset& data_;
  LossSettings loss_;
  Shape picture_;
  int64_t text_dim_;
  BatchRequest requested_;
  std::future<TrainingBatch> next_;
};

}  // namespace wandistill
