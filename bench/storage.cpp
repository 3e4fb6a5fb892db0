// What training reads and writes: points of the teacher cache, and checkpoints with everything that makes
// them safe (checksums, fsync, rename). The ceiling is a copy in memory of as many bytes.
#include "bench/ceiling.h"
#include "bench/measure.h"
#include "src/train/training_state.h"
#include "wandistill/error.h"
#include "wandistill/teacher_cache.h"

namespace wandistill::bench {
namespace {

constexpr int64_t kItems = 64, kPoints = 10, kTextDim = 96, kTokens = 20, kChannels = 16;
const std::filesystem::path kFolder = "build/bench_storage";

CacheSettings settings(int64_t pixels) {
  CacheSettings made_with;
  made_with.sampler = "ddim";
  made_with.steps = kPoints;
  made_with.height = made_with.width = pixels;
  return made_with;
}

/// A shard of random numbers, as TeacherCache describes it.
void write_shard(const std::filesystem::path& file, int64_t pixels) {
  const int64_t side = pixels / 8, size = kChannels * side * side;
  const Buffer<float> points = gaussian(kItems * kPoints * size, 1),
                      text = gaussian(kItems * kTokens * kTextDim, 2);
  std::vector<std::string> prompts;
  std::vector<int64_t> repetitions(size_t(kItems), 0), offsets{0};
  std::vector<float> sigmas;
  for (int64_t i = 0; i < kItems; ++i) {
    prompts.push_back(cat("prompt ", i));
    offsets.push_back(offsets.back() + kTokens);
  }
  for (int64_t p = 0; p < kPoints; ++p) sigmas.push_back(1 - float(p) / float(kPoints));
  write_h5_atomically(file, [&](H5File& h5) {
    h5.write_string("settings", settings(pixels).to_json().dump());
    h5.write_strings("prompt", prompts);
    h5.write<int64_t>("repetition", {kItems}, repetitions.data());
    h5.write<float>("text/rows", {kItems * kTokens, kTextDim}, text.data());
    h5.write<int64_t>("text/offsets", {kItems + 1}, offsets.data());
    h5.write<float>("sigma", {kPoints}, sigmas.data());
    h5.write<float>("latents", {kItems * kPoints, kChannels, side, side}, points.data());
    h5.write<float>("velocity", {kItems * kPoints, kChannels, side, side}, points.data());
    h5.write<float>("x0", {kItems, kChannels, side, side}, points.data());
  });
}

/// Points in an order that nobody foresees, as training asks for them; from the system's page cache.
void cache_read(Report& report, const Queue& queue, int64_t pixels) {
  const std::filesystem::path folder = kFolder / cat("cache_", pixels);
  make_directories(folder);
  write_shard(folder / "shard_rank_0_0000.h5", pixels);
  const TeacherCache cache(folder, settings(pixels));
  const int64_t side = pixels / 8, size = kChannels * side * side, bytes = 2 * 4 * size;
  std::vector<float> latents(size_t(size), 0.0f), velocity = latents;
  Rng rng(1);
  const Timing time = measure([&] {
    cache.read_point(rng.below(kItems), rng.below(kPoints), latents.data(), velocity.data());
    cache.read_text(rng.below(kItems));
  });
  report.add({.name = "cache read",
              .shape = cat(pixels, " x ", pixels, ", a point and its text"),
              .time = time,
              .work = double(bytes + 4 * kTokens * kTextDim) * 1e-9,
              .unit = "GB/s",
              .ceiling = copy_ceiling(2 * bytes, queue)});
}

void checkpoint(Report& report, const Queue& queue, const std::string& name, const WanConfig& config) {
  const ParameterLayout layout(config);
  const Buffer<float> values = gaussian(layout.total(), 1);
  RunIdentity identity;
  identity.student = config.to_json();
  const std::filesystem::path file = checkpoint_file(kFolder, 1);
  const int64_t bytes = 4 * 4 * layout.total();
  const auto row = [&](const std::string& what, const std::function<void()>& work) {
    report.add({.name = what,
                .shape = cat(name, ", ", layout.total() / 1000, " K parameters"),
                .time = measure(work, 2),
                .work = double(bytes) * 1e-9,
                .unit = "GB/s",
                .ceiling = copy_ceiling(2 * bytes, queue)});
  };
  const std::array<const float*, 4> sections = {values.data(), values.data(), values.data(), values.data()};
  row("checkpoint write", [&] { save_checkpoint(file, layout, {}, sections, identity, ""); });
  row("checkpoint read", [&] { load_checkpoint(file, layout, identity, Shard::whole(layout.total())); });
}

void run() {
  const int threads = bench_threads();
  Report report("storage", threads);
  const Queue queue{threads};
  for (const int64_t pixels : {96, 512}) cache_read(report, queue, pixels);
  const WanConfig tiny{.heads = 2,
                       .head_dim = 64,
                       .layers = 4,
                       .ffn_dim = 384,
                       .in_channels = 16,
                       .out_channels = 16,
                       .text_dim = 96,
                       .freq_dim = 256};
  checkpoint(report, queue, "tiny", tiny);
  WanConfig small = tiny;
  small.heads = small.layers = 8;
  small.ffn_dim = 2048;
  small.text_dim = 4096;
  checkpoint(report, queue, "small", small);
  std::filesystem::remove_all(kFolder);
}

}  // namespace
}  // namespace wandistill::bench

int main() {
  try {
    wandistill::bench::run();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "storage: %s\n", error.what());
    return 1;
  }
}
