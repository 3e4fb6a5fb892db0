// Checkpoints that survive: what is damaged is found, what fails leaves the older ones alone.
#include <hdf5.h>
#include <signal.h>

#include <fstream>

#include "src/train/checkpoint_writer.h"
#include "temporary_folder.h"
#include "tests/faults/fault.h"
#include "wandistill/file.h"
#include "wandistill/h5.h"

namespace wandistill::testing {
namespace {

namespace fs = std::filesystem;

const RunIdentity kIdentity{.student = "{\"a\": 1}", .seed = 7, .batch_size = 4, .samples_per_epoch = 40};
const std::string kConfig = "seed = 7\n";

/// A few dozen tensors.
const ParameterLayout& layout() {
  static const ParameterLayout layout(WanConfig{.heads = 1,
                                                .head_dim = 6,
                                                .layers = 1,
                                                .ffn_dim = 8,
                                                .in_channels = 2,
                                                .out_channels = 2,
                                                .text_dim = 4,
                                                .freq_dim = 8});
  return layout;
}

TrainingState state_at(int64_t step, const Queue& queue = {}) {
  TrainingState state;
  state.step = step;
  state.epoch = step / 10;
  state.position = 4 * (step % 10);
  state.elapsed = 0.5 * double(step);
  state.best_validation = 1.0 / double(step);
  state.update.updates = step - 2;
  state.update.skipped = 2;
  std::vector<float> values(size_t(layout().total()));
  for (size_t section = 0; section < kSections.size(); ++section) {
    for (size_t i = 0; i < values.size(); ++i) values[i] = float(step) + float(section) + 1 / float(i + 3);
    *state.sections()[section] = OpBuffer<float>(queue, layout().total());
    upload(queue, state.sections()[section]->data(), values.data(), layout().total());
  }
  return state;
}

bool same(const TrainingState& a, const TrainingState& b) {
  bool same = a.step == b.step && a.epoch == b.epoch && a.position == b.position && a.elapsed == b.elapsed &&
              a.best_validation == b.best_validation && a.update.updates == b.update.updates &&
              a.update.skipped == b.update.skipped;
  for (size_t i = 0; i < kSections.size(); ++i)
    same = same && std::equal(a.sections()[i]->data(), a.sections()[i]->data() + layout().total(),
                              b.sections()[i]->data());
  return same;
}

TrainingState load(const fs::path& file) {
  return load_checkpoint(file, layout(), kIdentity, Shard::whole(layout().total()));
}

WholeSection sections(const TrainingState& state) {
  return [&state](size_t section) { return state.sections()[section]->data(); };
}

CheckpointWriter writer_on(const Compute& compute) {
  return {compute, layout(), kIdentity, kConfig};
}

const Compute kHost{Queue{1}};

/// One checkpoint, written.
fs::path checkpoint_in(const TemporaryFolder& folder, int64_t step) {
  const fs::path file = checkpoint_file(folder.path(), step);
  CheckpointWriter writer = writer_on(kHost);
  const TrainingState state = state_at(step);
  writer.save(state, sections(state), {{file, std::nullopt}});
  for (const CheckpointReport& report : writer.finish()) REQUIRE(report.error == "");
  return file;
}

struct Section {
  std::string name;
  size_t begin, end;  // in the file
};

/// The datasets of a file by what the library itself says of them.
std::vector<Section> sections_of(const fs::path& path) {
  std::vector<Section> sections;
  const auto add = [](hid_t at, const char* name, const H5O_info_t* info, void* into) -> herr_t {
    if (info->type != H5O_TYPE_DATASET) return 0;
    const hid_t dataset = H5Dopen2(at, name, H5P_DEFAULT);
    const size_t begin = H5Dget_offset(dataset);
    static_cast<std::vector<Section>*>(into)->push_back({name, begin, begin + H5Dget_storage_size(dataset)});
    H5Dclose(dataset);
    return 0;
  };
  const hid_t file = H5Fopen(path.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT);
  REQUIRE(H5Ovisit(file, H5_INDEX_NAME, H5_ITER_INC, add, &sections) >= 0);
  H5Fclose(file);
  return sections;
}

TEST_CASE("checkpoint: a bit flipped in any section is found, and the section named") {
  const TemporaryFolder folder;
  const fs::path file = checkpoint_in(folder, 12);
  CHECK(same(load(file), state_at(12)));
  const std::string whole = read_file(file);
  const std::vector<Section> sections = sections_of(file);
  CHECK(sections.size() == 14 + kSections.size() * layout().parameters().size());
  for (const Section& section : sections)
    for (const size_t at : {section.begin, (section.begin + section.end) / 2, section.end - 1}) {
      CAPTURE(section.name);
      std::string damaged = whole;
      damaged[at] = char(damaged[at] ^ 0x10);
      put(file, damaged);
      check_mentions(error_of([&] { load(file); }),
                     {file.string() + ": '" + section.name + "': the data is damaged"});
    }
}

TEST_CASE("checkpoint: a bit flipped anywhere is found or without effect") {
  const TemporaryFolder folder;
  const fs::path file = checkpoint_in(folder, 12);
  const TrainingState expected = state_at(12);
  const std::string whole = read_file(file);
  int64_t found = 0;
  for (size_t at = 0; at < whole.size(); at += 97) {
    CAPTURE(at);
    std::string damaged = whole;
    damaged[at] = char(damaged[at] ^ (1 << at % 8));
    put(file, damaged);
    std::optional<TrainingState> state;
    const std::string error = error_of([&] { state = load(file); });
    if (state) {
      CHECK(same(*state, expected));
      continue;
    }
    ++found;
    check_mentions(error, {file.string() + ": "});
  }
  CHECK(found > int64_t(whole.size()) / 97 / 2);
}

TEST_CASE("checkpoint: cut off in or between any two sections it is refused by name") {
  const TemporaryFolder folder;
  const fs::path file = checkpoint_in(folder, 12);
  const std::string whole = read_file(file);
  for (const Section& section : sections_of(file))
    for (const size_t length : {section.begin, (section.begin + section.end) / 2}) {
      put(file, whole.substr(0, length));
      check_mentions(error_of([&] { load(file); }), {file.string() + ": cannot open", "truncated"});
    }
  put(file, whole.substr(0, whole.size() - 1));
  check_mentions(error_of([&] { load(file); }), {file.string() + ": cannot open", "truncated"});
  put(file, "");
  check_mentions(error_of([&] { load(file); }), {file.string() + ": cannot open"});
}

TEST_CASE("checkpoint: the averaged weights alone") {
  const TemporaryFolder folder;
  const TrainingState whole = state_at(12),
                      part = load_averaged_weights(checkpoint_in(folder, 12), layout(), kIdentity);
  CHECK(part.step == 12);
  REQUIRE(part.ema.size() == layout().total());
  CHECK(std::equal(whole.ema.data(), whole.ema.data() + whole.ema.size(), part.ema.data()));
  for (size_t i = 0; i < kEmaSection; ++i) CHECK(part.sections()[i]->size() == 0);
}

TEST_CASE("checkpoint: a rank that keeps a part of the state gets it from any file") {
  const TemporaryFolder folder;
  const fs::path file = checkpoint_in(folder, 12);
  const TrainingState whole = state_at(12);
  for (int rank = 0; rank < 3; ++rank) {
    const Shard shard(layout().gradient_order(), 256, 3, rank);
    const TrainingState part = load_checkpoint(file, layout(), kIdentity, shard);
    CHECK(part.step == 12);
    for (size_t i = 0; i < kSections.size(); ++i) {
      const Buffer<float> expected =
          shard.kept(Buffer<float>::copy_of(whole.sections()[i]->data(), layout().total()));
      REQUIRE(part.sections()[i]->size() == expected.size());
      CHECK(std::equal(expected.begin(), expected.end(), part.sections()[i]->data()));
    }
  }
}

TEST_CASE("checkpoint writer: what is written is the state at the time of save(), though it changes") {
  const ComputeDevice simt("simt", 1, 0);
  for (const Compute* compute : {&kHost, &simt.compute()}) {
    const TemporaryFolder folder;
    const Faults slow("delay:checkpoint:seconds=0.1");
    CheckpointWriter writer = writer_on(*compute);
    TrainingState state = state_at(12, *compute);
    for (const int64_t step : {12, 13, 14}) {  // each waits for the one before: there is one copy
      writer.save(state, sections(state), {{checkpoint_file(folder.path(), step), std::nullopt}});
      const TrainingState next = state_at(step + 1);
      static_cast<TrainingCounters&>(state) = next;
      for (size_t i = 0; i < kSections.size(); ++i)
        upload(*compute, state.sections()[i]->data(), next.sections()[i]->data(), layout().total());
    }
    const std::vector<CheckpointReport> reports = writer.finish();
    REQUIRE(reports.size() == 3);
    for (const CheckpointReport& report : reports) CHECK(report.error == "");
    CHECK(reports.back().step == 14);
    for (const int64_t step : {12, 13, 14})
      CHECK(same(load(checkpoint_file(folder.path(), step)), state_at(step)));
    CHECK(folder.count() == 3);
  }
}

TEST_CASE("checkpoint writer: training does not wait for the disk, nor the disk for the end of training") {
  const TemporaryFolder folder;
  const Faults slow("delay:checkpoint:seconds=0.3");
  const fs::path file = checkpoint_file(folder.path(), 12);
  {
    CheckpointWriter writer = writer_on(kHost);
    const TrainingState state = state_at(12);
    writer.save(state, sections(state), {{file, std::nullopt}});
    CHECK(writer.poll().empty());
    CHECK_FALSE(fs::exists(file));
  }  // waits
  CHECK(same(load(file), state_at(12)));
}

TEST_CASE("checkpoint writer: any write that fails is reported, and the older file is untouched") {
  const TemporaryFolder folder;
  const fs::path file = checkpoint_in(folder, 12), best = folder / "best.h5";
  for (int n = 1;; n += n < 20 ? 1 : 11) {
    CAPTURE(n);
    CheckpointWriter writer = writer_on(kHost);
    const Faults faults("fail:write:n=" + std::to_string(n));
    const TrainingState state = state_at(13);
    writer.save(state, sections(state), {{file, std::nullopt}, {best, std::nullopt}});
    const std::vector<CheckpointReport> reports = writer.finish();
    REQUIRE(reports.size() == 2);
    const bool in_first = !reports[0].error.empty(), in_second = !reports[1].error.empty();
    if (in_first) {
      check_mentions(reports[0].error, {file.string() + ": cannot write: No space left on device"});
      CHECK(same(load(file), state_at(12)));
    }
    if (!in_second) CHECK(same(load(best), state_at(13)));
    CHECK(in_first + in_second == faults.struck());
    CHECK(remove_temporaries(folder.path()).empty());
    if (!in_first) {
      CHECK(n > int64_t(kSections.size() * layout().parameters().size()));
      break;
    }
  }
  const Faults faults("fail:rename");
  CheckpointWriter writer = writer_on(kHost);
  const TrainingState state = state_at(14);
  writer.save(state, sections(state), {{file, std::nullopt}});
  check_mentions(writer.finish().at(0).error, {file.string(), "rename"});
  CHECK(same(load(file), state_at(13)));
  CHECK(folder.count() == 2);
}

TEST_CASE("checkpoint writer: no memory for the copy, no room on the disk: reported") {
  const TemporaryFolder folder;
  const fs::path file = checkpoint_file(folder.path(), 12);
  CheckpointWriter writer = writer_on(kHost);
  const TrainingState state = state_at(12);
  {
    const Faults faults("fail:allocation");
    writer.save(state, sections(state), {{file, std::nullopt}});
    const std::vector<CheckpointReport> reports = writer.finish();
    REQUIRE(reports.size() == 1);
    check_mentions(reports[0].error, {file.string(), "cannot copy the state"});
  }
  writer.save(state, sections(state), {{folder / "none" / "x.h5", std::nullopt}, {file, std::nullopt}});
  const std::vector<CheckpointReport> reports = writer.finish();
  REQUIRE(reports.size() == 2);
  check_mentions(reports[0].error, {"none/x.h5"});
  CHECK(same(load(file), state));
}

TEST_CASE("checkpoint writer: its thread leaves signals to others") {
  const CheckpointWriter writer = writer_on(kHost);
  const std::string own = fs::read_symlink("/proc/thread-self").filename().string();
  int64_t blocking = 0;
  for (const auto& thread : fs::directory_iterator("/proc/self/task")) {
    std::ifstream status(thread.path() / "status");
    for (std::string line; std::getline(status, line);) {
      if (!line.starts_with("SigBlk:") || thread.path().filename() == own) continue;
      const uint64_t blocked = std::stoull(line.substr(7), nullptr, 16);
      const auto blocks = [&](int signal) { return (blocked >> (signal - 1) & 1) != 0; };
      blocking += blocks(SIGTERM) && blocks(SIGUSR1) && blocks(SIGINT) ? 1 : 0;
    }
  }
  CHECK(blocking >= 1);
  sigset_t here;
  pthread_sigmask(SIG_SETMASK, nullptr, &here);
  CHECK(sigismember(&here, SIGINT) == 0);
}

TEST_CASE("checkpoints: the newest stay and every so manieth, damaged ones of later steps do not count") {
  const TemporaryFolder folder;
  const auto steps = [&] {
    std::string steps;
    for (const fs::path& file : list_checkpoints(folder.path()))
      steps += std::to_string(std::stol(file.filename().string().substr(5))) + " ";
    return steps;
  };
  for (int64_t step = 5; step <= 60; step += 5) put(checkpoint_file(folder.path(), step), "");
  put(folder / "best.h5", "");
  prune_checkpoints(folder.path(), {.newest = 3, .every_steps = 20}, 45);
  CHECK(steps() == "60 55 50 45 40 35 20 ");
  prune_checkpoints(folder.path(), {.newest = 2}, 60);
  CHECK(steps() == "60 55 ");
  prune_checkpoints(folder.path(), {.newest = 5}, 60);
  CHECK(steps() == "60 55 ");
  CHECK(fs::exists(folder / "best.h5"));
}

}  // namespace
}  // namespace wandistill::testing
