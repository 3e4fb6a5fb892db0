#include <algorithm>
#include <cmath>

#include "src/train/training_state.h"
#include "wandistill/error.h"
#include "wandistill/file.h"
#include "wandistill/h5.h"

namespace wandistill {
namespace fs = std::filesystem;
namespace {

constexpr int64_t kFormat = 1;

/// The buffers of a state with their names in the file.
template <class State, class Visit>
void for_each_buffer(State& state, Visit&& visit) {
  visit("weights", state.weights);
  visit("m", state.m);
  visit("v", state.v);
  visit("ema", state.ema);
}

template <class State, class Visit>
void for_each_counter(State& state, Visit&& visit) {
  visit("step", state.step);
  visit("updates", state.update.updates);
  visit("epoch", state.epoch);
  visit("position", state.position);
  visit("skipped", state.update.skipped);
  visit("skipped_in_row", state.update.skipped_in_row);
}

}  // namespace

void save_checkpoint(const fs::path& file, const ParameterLayout& layout, const TrainingState& state,
                     const RunIdentity& identity, const std::string& effective_config) {
  write_h5_atomically(file, [&](H5File& h5) {
    h5.write_scalar<int64_t>("format", kFormat);
    h5.write_string("student", identity.student);
    h5.write_scalar<uint64_t>("seed", identity.seed);
    h5.write_scalar<int64_t>("batch_size", identity.batch_size);
    h5.write_scalar<int64_t>("samples_per_epoch", identity.samples_per_epoch);
    h5.write_string("effective_config", effective_config);
    h5.write_scalar<double>("elapsed", state.elapsed);
    h5.write_scalar<double>("best_validation", state.best_validation);
    for_each_counter(state, [&](const char* name, int64_t value) { h5.write_scalar<int64_t>(name, value); });
    for_each_buffer(state, [&](const std::string& group, const OpBuffer<float>& buffer) {
      for (const ParameterInfo& p : layout.parameters())
        h5.write<float>(group + "/" + p.name, p.shape, buffer.data() + p.offset);
    });
  });
}

TrainingState load_checkpoint(const fs::path& file, const ParameterLayout& layout,
                              const RunIdentity& identity) {
  const H5File h5 = H5File::open_read(file);
  if (const int64_t format = h5.read_scalar_int64("format"); format != kFormat)
    fail(file.string(), ": checkpoint format ", format, "; this version reads ", kFormat);
  const auto refuse = [&](const char* what, const auto& found, const auto& expected) {
    if (found != expected)
      throw ForeignCheckpoint(cat(file.string(), ": this checkpoint was made with ", what, " ", found,
                                  ", this run has ", expected,
                                  "; use the same value, another --output_dir, or --resume none"));
  };
  refuse("the student config", h5.read_string("student"), identity.student);
  refuse("seed", h5.read_scalar<uint64_t>("seed"), identity.seed);
  refuse("batch_size", h5.read_scalar_int64("batch_size"), identity.batch_size);
  refuse("samples per epoch", h5.read_scalar_int64("samples_per_epoch"), identity.samples_per_epoch);
  TrainingState state;
  state.elapsed = h5.read_scalar_double("elapsed");
  state.best_validation = h5.read_scalar_double("best_validation");
  for_each_counter(state, [&](const char* name, int64_t& value) { value = h5.read_scalar_int64(name); });
  for_each_buffer(state, [&](const std::string& group, OpBuffer<float>& op_buffer) {
    Buffer<float> buffer(layout.total());
    for (const ParameterInfo& p : layout.parameters()) {
      h5.read<float>(group + "/" + p.name, p.shape, buffer.data() + p.offset);
      for (int64_t i = p.offset; i < p.offset + p.size; ++i)
        if (!std::isfinite(buffer[i])) fail(file.string(), ": ", group, "/", p.name, " is not finite");
    }
    op_buffer = OpBuffer<float>(std::move(buffer));
  });
  return state;
}

TrainingState TrainingState::copied(const Queue& from, const Queue& to) const {
  TrainingState result;
  result.step = step;
  result.update = update;
  result.epoch = epoch;
  result.position = position;
  result.elapsed = elapsed;
  result.best_validation = best_validation;
  const auto copy_buffer = [&](const OpBuffer<float>& source, OpBuffer<float>* target) {
    *target = OpBuffer<float>(to, source.size());
    if (from.stream)
      download(from, target->data(), source.data(), source.size());
    else
      upload(to, target->data(), source.data(), source.size());
  };
  copy_buffer(weights, &result.weights);
  copy_buffer(m, &result.m);
  copy_buffer(v, &result.v);
  copy_buffer(ema, &result.ema);
  return result;
}

fs::path checkpoint_file(const fs::path& folder, int64_t step) {
  char name[64];
  std::snprintf(name, sizeof name, "step_%08ld.h5", long(step));
  return folder / name;
}

std::vector<fs::path> list_checkpoints(const fs::path& folder) {
  std::vector<fs::path> files;
  if (fs::is_directory(folder))
    for (const auto& entry : fs::directory_iterator(folder))
      if (entry.path().extension() == ".h5" && entry.path().filename().string().starts_with("step_"))
        files.push_back(entry.path());
  std::sort(files.rbegin(), files.rend());
  return files;
}

void prune_checkpoints(const fs::path& folder, int64_t keep) {
  const std::vector<fs::path> files = list_checkpoints(folder);
  for (size_t i = size_t(keep); i < files.size(); ++i) fs::remove(files[i]);
}

}  // namespace wandistill
