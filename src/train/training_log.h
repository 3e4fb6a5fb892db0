// What training says: one line per epoch for people, metrics.jsonl and event files of TensorBoard for
// machines.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "src/train/json_lines.h"
#include "src/train/tensorboard.h"
#include "src/train/trainer.h"
#include "wandistill/picture_round.h"

namespace wandistill {

/// One epoch, or the part of one that ended the run.
struct EpochSummary {
  int64_t epoch = 0, steps = 0, samples = 0;
  double loss = 0;     // mean over the steps that were not skipped
  double seconds = 0;  // with validation
  ValidationResult validation;
  bool best = false;
};

/// On ranks other than the first (enabled false) it says nothing.
class TrainingLog {
 public:
  /// Appends to output/metrics.jsonl: one JSON object per line. From start_at() on, what it has of steps and
  /// epochs goes to output/tensorboard too.
  TrainingLog(const std::filesystem::path& output, bool enabled);
  /// Training goes on behind this step: what an earlier run logged of later ones is dropped, they are done
  /// again. 0: training starts anew, and all that was there before this log was opened goes.
  void start_at(int64_t step);

  void teacher(double seconds);
  void step(const StepOutcome& outcome);
  void epoch(const TrainingState& state, const EpochSummary& summary);
  /// A round of pictures: "12" or "teacher", and how long it took.
  void samples(const std::string& epoch, double seconds, const RoundResult& result);
  /// Pictures in `folder`, for TensorBoard.
  void pictures(const std::vector<PictureRecord>& records, const std::filesystem::path& folder);
  const std::filesystem::path& path() const { return path_; }

 private:
  void write(const Json& line);
  /// A line with the step and these values; numbers go to TensorBoard as kind/KEY.
  void show(int64_t step, const std::string& kind, const Json& values);

  bool enabled_;
  std::filesystem::path path_, tensorboard_folder_;
  int64_t opened_at_ = 0;  // bytes that were there before
  std::optional<JsonLines> lines_;
  std::optional<TensorBoard> tensorboard_;
};

/// Four significant digits.
std::string short_number(double value);

}  // namespace wandistill
