// What training says: one line per epoch for people, metrics.jsonl for machines.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "src/train/json_lines.h"
#include "src/train/trainer.h"
#include "wandistill/picture_round.h"

namespace wandistill {

/// One epoch, or the part of one that ended the run.
struct EpochSummary {
  int64_t epoch = 0, steps = 0, samples = 0;
  double loss = 0;     // mean over the steps that were not skipped
  double seconds = 0;  // with validation and checkpoint
  ValidationResult validation;
  bool best = false;
};

/// On ranks other than the first (enabled false) it says nothing.
class TrainingLog {
 public:
  /// Appends to output/metrics.jsonl: one JSON object per line.
  TrainingLog(const std::filesystem::path& output, bool enabled);
  /// Training goes on behind this step: what an earlier run logged of later ones is dropped, they are done
  /// again. 0: training starts anew, and all that was there before this log was opened goes.
  void start_at(int64_t step);

  void teacher(double seconds);
  void step(const StepOutcome& outcome);
  void epoch(const TrainingState& state, const EpochSummary& summary);
  /// A round of pictures: "12" or "teacher", and how long it took.
  void samples(const std::string& epoch, double seconds, const RoundResult& result);
  const std::filesystem::path& path() const { return path_; }

 private:
  void write(const Json& line);

  bool enabled_;
  std::filesystem::path path_;
  int64_t opened_at_ = 0;  // bytes that were there before
  std::optional<JsonLines> lines_;
};

/// Four significant digits.
std::string short_number(double value);

}  // namespace wandistill
