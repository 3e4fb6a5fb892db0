#include "src/train/run_checkpoints.h"

#include "wandistill/progress.h"

namespace wandistill {
namespace fs = std::filesystem;

RunCheckpoints::RunCheckpoints(Session& session, const Compute& compute, const TrainOptions& options,
                               const ParameterLayout& layout, RunIdentity identity,
                               std::string effective_config, EventLog& events)
    : session_(session),
      options_(options),
      layout_(layout),
      identity_(std::move(identity)),
      folder_(fs::path(options.output_dir) / "checkpoints"),
      events_(events) {
  if (session.is_root()) writer_.emplace(compute, layout, identity_, std::move(effective_config));
}

std::optional<TrainingState> RunCheckpoints::load(const Shard& shard) {
  std::vector<fs::path> files;
  if (options_.resume == "auto")
    files = list_checkpoints(folder_);
  else if (options_.resume != "none")
    files = {options_.resume};
  for (const fs::path& file : files) try {
      TrainingState state = load_checkpoint(file, layout_, identity_, shard);
      events_.add("resume", {{"file", file.string()}, {"step", state.step}, {"epoch", state.epoch}});
      return state;
    } catch (const ForeignCheckpoint&) {
      throw;
    } catch (const Error& error) {
      // Damaged: passed over by name, unless it was the last hope.
      events_.add("damaged_checkpoint", {{"file", file.string()}, {"error", error.what()}});
      if (file == files.back()) throw;
      if (session_.is_root()) print_line(cat("skipping a checkpoint: ", error.what()));
    }
  return std::nullopt;
}

TrainingState RunCheckpoints::load_best() const {
  return load_averaged_weights(best_file(), layout_, identity_);
}

void RunCheckpoints::remove_all() const {
  fs::remove(best_file());
  for (const fs::path& file : list_checkpoints(folder_)) fs::remove(file);
}

bool RunCheckpoints::due(int64_t epoch) const {
  return epoch % options_.checkpoint_interval == 0 ||
         (options_.keep_every > 0 && epoch % options_.keep_every == 0);
}

void RunCheckpoints::save(const TrainingCounters& counters, const WholeSection& section, bool numbered,
                          bool best) {
  if (!numbered && !best) return;
  if (!writer_) {
    for (size_t i = 0; i < kSections.size(); ++i) section(i);  // its part in what rank 0 gets
    return;
  }
  const int64_t steps_per_epoch =
      (identity_.samples_per_epoch + identity_.batch_size - 1) / identity_.batch_size;
  std::vector<CheckpointWriter::Target> targets;
  // The best one first: a run that goes on from the numbered one does not make this epoch's best again.
  if (best) targets.push_back({best_file(), std::nullopt});
  if (numbered)
    targets.push_back({checkpoint_file(folder_, counters.step),
                       KeepCheckpoints{.newest = options_.keep_checkpoints,
                                       .every_steps = options_.keep_every * steps_per_epoch}});
  writer_->save(counters, section, std::move(targets));
  poll();
}

void RunCheckpoints::poll() {
  if (writer_) report(writer_->poll());
}

void RunCheckpoints::report(const std::vector<CheckpointReport>& reports) {
  for (const CheckpointReport& r : reports) {
    (r.file == best_file() ? best_failed_ : numbered_failed_) = !r.error.empty();
    if (r.error.empty()) {
      events_.add("checkpoint", {{"file", r.file.string()}, {"step", r.step}, {"seconds", r.seconds}});
      continue;
    }
    events_.add("failed_write", {{"file", r.file.string()}, {"step", r.step}, {"error", r.error}});
    print_line(cat("the checkpoint of step ", r.step, " could not be written, training goes on: ", r.error));
  }
}

bool RunCheckpoints::finish() {
  session_.board().post("writing a checkpoint");
  if (writer_) report(writer_->finish());
  return !session_.any(numbered_failed_);
}

bool RunCheckpoints::have_best() const {
  return !best_failed_ && fs::exists(best_file());
}

}  // namespace wandistill
