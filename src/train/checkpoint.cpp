#include <cmath>

#include "src/train/training_state.h"
#include "wandistill/error.h"
#include "wandistill/file.h"
#include "wandistill/h5.h"

namespace wandistill {
namespace fs = std::filesystem;
namespace {

constexpr int64_t kFormat = 1;

template <class Counters, class Visit>
void for_each_counter(Counters& counters, Visit&& visit) {
  visit("step", counters.step);
  visit("updates", counters.update.updates);
  visit("epoch", counters.epoch);
  visit("position", counters.position);
  visit("skipped", counters.update.skipped);
  visit("skipped_in_row", counters.update.skipped_in_row);
}

/// A little more than the file will have: HDF5 takes about 500 bytes for a dataset and its name.
int64_t file_bytes(const ParameterLayout& layout, const std::string& texts) {
  return int64_t(kSections.size()) *
             (layout.total() * int64_t(sizeof(float)) + int64_t(layout.parameters().size()) * 1024) +
         int64_t(texts.size()) + 65536;
}

/// The counters, and the sections from this one on.
TrainingState load_sections(size_t first, const fs::path& file, const ParameterLayout& layout,
                            const RunIdentity& identity, const Shard& shard) {
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
  h5.read_string("effective_config");  // is it whole?
  state.elapsed = h5.read_scalar_double("elapsed");
  state.best_validation = h5.read_scalar_double("best_validation");
  for_each_counter(state, [&](const char* name, int64_t& value) { value = h5.read_scalar_int64(name); });
  for (size_t i = first; i < kSections.size(); ++i) {
    Buffer<float> kept(shard.size());
    for (const ParameterInfo& p : layout.parameters()) {
      const std::string name = cat(kSections[i], "/", p.name);
      Buffer<float> tensor(p.size);
      h5.read<float>(name, p.shape, tensor.data());
      for (const float value : tensor)
        if (!std::isfinite(value)) fail(file.string(), ": ", name, " is not finite");
      shard.keep({p.offset, p.offset + p.size}, tensor.data(), kept.data());
    }
    *state.sections()[i] = OpBuffer<float>(std::move(kept));
  }
  return state;
}

}  // namespace

void save_checkpoint(const fs::path& file, const ParameterLayout& layout, const TrainingCounters& counters,
                     const std::array<const float*, 4>& buffers, const RunIdentity& identity,
                     const std::string& effective_config) {
  require_space(file, file_bytes(layout, identity.student + effective_config));
  write_h5_atomically(file, [&](H5File& h5) {
    h5.write_scalar<int64_t>("format", kFormat);
    h5.write_string("student", identity.student);
    h5.write_scalar<uint64_t>("seed", identity.seed);
    h5.write_scalar<int64_t>("batch_size", identity.batch_size);
    h5.write_scalar<int64_t>("samples_per_epoch", identity.samples_per_epoch);
    h5.write_string("effective_config", effective_config);
    h5.write_scalar<double>("elapsed", counters.elapsed);
    h5.write_scalar<double>("best_validation", counters.best_validation);
    for_each_counter(counters,
                     [&](const char* name, int64_t value) { h5.write_scalar<int64_t>(name, value); });
    for (size_t i = 0; i < kSections.size(); ++i)
      for (const ParameterInfo& p : layout.parameters())
        h5.write<float>(cat(kSections[i], "/", p.name), p.shape, buffers[i] + p.offset);
  });
}

TrainingState load_checkpoint(const fs::path& file, const ParameterLayout& layout,
                              const RunIdentity& identity, const Shard& shard) {
  return load_sections(0, file, layout, identity, shard);
}

TrainingState load_averaged_weights(const fs::path& file, const ParameterLayout& layout,
                                    const RunIdentity& identity) {
  static_assert(kEmaSection == kSections.size() - 1);
  return load_sections(kEmaSection, file, layout, identity, Shard::whole(layout.total()));
}

TrainingState TrainingState::copied(const Queue& from, const Queue& to) const {
  TrainingState result;
  static_cast<TrainingCounters&>(result) = *this;
  for (size_t i = 0; i < kSections.size(); ++i) {
    const OpBuffer<float>& source = *sections()[i];
    OpBuffer<float>& target = *result.sections()[i];
    target = OpBuffer<float>(to, source.size());
    if (from.stream)
      download(from, target.data(), source.data(), source.size());
    else
      upload(to, target.data(), source.data(), source.size());
  }
  return result;
}

}  // namespace wandistill
