#include "src/train/training_log.h"

#include <algorithm>
#include <cstdio>
#include <sstream>

#include "wandistill/error.h"
#include "wandistill/file.h"
#include "wandistill/progress.h"

namespace wandistill {

TrainingLog::TrainingLog(const std::filesystem::path& output, bool enabled)
    : enabled_(enabled), path_(output / "metrics.jsonl"), tensorboard_folder_(output / "tensorboard") {
  if (!enabled_) return;
  lines_.emplace(path_);
  opened_at_ = int64_t(std::filesystem::file_size(path_));
}

void TrainingLog::start_at(int64_t step) {
  if (!enabled_) return;
  tensorboard_.emplace(tensorboard_folder_, step == 0 ? 0 : step + 1);
  if (opened_at_ == 0) return;
  lines_.reset();
  const std::string content = read_file(path_);
  std::string kept;
  std::istringstream lines(content.substr(step == 0 ? size_t(opened_at_) : 0));
  for (std::string line; std::getline(lines, line);) {
    const Json entry = Json::parse(line, nullptr, false);  // a crash may have left half a line
    if (!entry.is_object() || entry.value("step", int64_t{0}) > step) continue;
    kept += line + "\n";
  }
  write_file_atomically(path_, kept);
  lines_.emplace(path_);
}

void TrainingLog::write(const Json& line) {
  if (lines_) lines_->write(line);
}

void TrainingLog::show(int64_t step, const std::string& kind, const Json& values) {
  Json line = {{"step", step}};
  line.update(values);
  write(line);
  if (tensorboard_) tensorboard_->scalars(step, kind, values);
}

void TrainingLog::pictures(const std::vector<PictureRecord>& records, const std::filesystem::path& folder) {
  if (!tensorboard_) return;
  for (const PictureRecord& r : records) try {
      if (r.file.empty()) continue;
      tensorboard_->picture(r.step,
                            cat(r.by_teacher() ? "teacher/" : "samples/", r.prompt_index, " ", r.prompt),
                            read_file(folder / r.file));
    } catch (const Error& error) {
      print_line(cat("a picture is not in TensorBoard: ", error.what()));
    }
}

void TrainingLog::teacher(double seconds) {
  write({{"teacher_seconds", seconds}});
}

void TrainingLog::step(const StepOutcome& result) {
  show(result.step, "train",
       {{"loss", result.loss},
        {"gradient_norm", result.gradient_norm},
        {"lr", result.lr},
        {"skipped", result.skipped},
        {"samples_per_second", double(result.samples) / result.wall},
        {"seconds",
         {{"data", result.seconds.data},
          {"forward", result.seconds.forward},
          {"backward", result.seconds.backward},
          {"all_reduce_wait", result.seconds.reduce_wait},
          {"optimizer", result.seconds.optimizer}}}});
  if (result.skipped && enabled_)
    print_line(cat("step ", result.step, ": loss or gradient is not finite; update skipped (",
                   result.skipped_so_far, " so far)"));
}

void TrainingLog::epoch(const TrainingState& state, const EpochSummary& s) {
  const double rate = double(s.samples) / std::max(s.seconds, 1e-9);
  const ValidationResult& v = s.validation;
  show(state.step, "epoch",
       {{"epoch", s.epoch},
        {"loss", s.loss},
        {"validation_error", v.all},
        {"validation_error_high_noise", v.high_noise},
        {"validation_error_low_noise", v.low_noise},
        {"validation_error_by_sigma", v.sigma_bin},
        {"samples_per_second", rate},
        {"skipped_updates", state.update.skipped},
        {"elapsed_seconds", state.elapsed}});
  if (!enabled_) return;
  print_line(cat("epoch ", s.epoch, ": loss ", short_number(s.loss), ", validation error ",
                 short_number(v.all), " (high noise ", short_number(v.high_noise), ", low noise ",
                 short_number(v.low_noise), "), ", short_number(rate), " samples/s",
                 s.best ? ", best so far" : ""));
}

void TrainingLog::samples(const std::string& epoch, double seconds, const RoundResult& result) {
  write({{"samples_of_epoch", epoch},
         {"pictures", int64_t(result.records.size()) - result.missing()},
         {"missing", result.missing()},
         {"sampling_seconds", seconds}});
}

std::string short_number(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.4g", value);
  return text;
}

}  // namespace wandistill
