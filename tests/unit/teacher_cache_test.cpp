// The teacher cache on disk and the samples made of it, on a shard written by hand.
#include "wandistill/teacher_cache.h"

#include <doctest/doctest.h>

#include <cmath>
#include <set>

#include "src/train/dataset.h"
#include "tests/unit/temporary_folder.h"

namespace wandistill {
namespace {

using testing::check_mentions;
using testing::error_of;
using testing::put;
using testing::TemporaryFolder;

constexpr int64_t kPoints = 3, kSize = 2 * 2 * 2, kTextDim = 3;

CacheSettings settings() {
  return {.teacher_fingerprint = 0xabc,
          .sampler = "ddim",
          .steps = kPoints,
          .guidance = 4,
          .guidance_2 = 3,
          .flow_shift = 3,
          .negative_prompt = "",
          .height = 16,
          .width = 16,
          .seed = 0};
}

/// Prompt i of the shard has i + 1 tokens of value i; point p of it latents 100 i + p and velocity -(100 i +
/// p).
void write_shard(const std::filesystem::path& file, const std::vector<std::string>& prompts,
                 const CacheSettings& made_with, int64_t rows_missing = 0) {
  write_h5_atomically(file, [&](H5File& h5) {
    const int64_t n = int64_t(prompts.size());
    std::vector<int64_t> repetitions(prompts.size(), 0), offsets{0};
    std::vector<float> text, latents, velocity, x0;
    for (int64_t i = 0; i < n; ++i) {
      offsets.push_back(offsets.back() + i + 1);
      text.insert(text.end(), size_t((i + 1) * kTextDim), float(i));
      for (int64_t p = 0; p < kPoints; ++p) {
        latents.insert(latents.end(), size_t(kSize), float(100 * i + p));
        velocity.insert(velocity.end(), size_t(kSize), -float(100 * i + p));
      }
      x0.insert(x0.end(), size_t(kSize), float(1000 + i));
    }
    const float sigma[] = {1.0f, 0.5f, 0.1f};
    h5.write_string("settings", made_with.to_json().dump());
    h5.write_strings("prompt", prompts);
    h5.write<int64_t>("repetition", {n}, repetitions.data());
    h5.write<float>("text/rows", {offsets.back(), kTextDim}, text.data());
    h5.write<int64_t>("text/offsets", {n + 1}, offsets.data());
    h5.write<float>("sigma", {kPoints}, sigma);
    h5.write<float>("latents", {n * kPoints - rows_missing, 2, 2, 2}, latents.data());
    h5.write<float>("velocity", {n * kPoints, 2, 2, 2}, velocity.data());
    h5.write<float>("x0", {n, 2, 2, 2}, x0.data());
  });
}

TEST_CASE("teacher cache: shards are read together, each point from its place") {
  const TemporaryFolder folder;
  write_shard(folder / "shard_rank_0_0000.h5", {"a", "b"}, settings());
  write_shard(folder / "shard_rank_1_0000.h5", {"c", "a", "d"}, settings());  // "a" twice: either will do
  const TeacherCache cache(folder.path(), settings());
  CHECK(cache.items() == 4);
  CHECK(cache.points() == kPoints);
  const int64_t d = cache.find({"d", 0});
  REQUIRE(d >= 0);
  CHECK(cache.find({"d", 1}) == -1);
  float latents[kSize], velocity[kSize], x0[kSize];
  cache.read_point(d, 1, latents, velocity);
  CHECK(latents[kSize - 1] == 201);
  CHECK(velocity[0] == -201);
  cache.read_x0(d, x0);
  CHECK(x0[3] == 1002);
  const TextEmbedding text = cache.read_text(d);
  CHECK(text.tokens == 3);
  CHECK(text.rows == std::vector<float>(9, 2.0f));
}

TEST_CASE("teacher cache: foreign and damaged shards are refused by name") {
  const TemporaryFolder folder;
  CacheSettings other = settings();
  other.guidance_2 = 5;
  write_shard(folder / "shard_rank_0_0000.h5", {"a"}, other);
  check_mentions(error_of([&] { TeacherCache(folder.path(), settings()); }),
                 {"shard_rank_0_0000.h5", "guidance_2", "5", "3", "--cache_dir"});
  write_shard(folder / "shard_rank_0_0000.h5", {"a"}, settings(), 1);
  check_mentions(error_of([&] { TeacherCache(folder.path(), settings()); }),
                 {"shard_rank_0_0000.h5", "do not agree in length"});
  put(folder / "shard_rank_0_0000.h5", "no HDF5");
  check_mentions(error_of([&] { TeacherCache(folder.path(), settings()); }), {"shard_rank_0_0000.h5"});
  CHECK(TeacherCache(folder / "absent", settings()).items() == 0);
}

TEST_CASE("teacher cache: noise depends on prompt and repetition alone") {
  CHECK(CacheItem{"a", 0}.noise_stream() == CacheItem{"a", 0}.noise_stream());
  std::set<uint64_t> streams;
  for (const char* prompt : {"a", "b", "a\n1"})
    for (int64_t repetition : {0, 1, 11}) streams.insert(CacheItem{prompt, repetition}.noise_stream());
  CHECK(streams.size() == 9);
}

TEST_CASE("dataset: the same prompts are held out in any order of the file") {
  const TemporaryFolder folder;
  std::vector<std::string> prompts;
  for (int i = 0; i < 20; ++i) prompts.push_back(cat("prompt ", i));
  write_shard(folder / "shard_rank_0_0000.h5", prompts, settings());
  const TeacherCache cache(folder.path(), settings());
  const auto held_out = [&](const Dataset& data) {
    std::set<std::string> names;
    for (const TrainingSample& s : data.validation()) names.insert(cache.item(s.item).prompt);
    return names;
  };
  const Dataset data(cache, prompts, 1, 0.2);
  CHECK(data.training().size() == 16 * kPoints);
  CHECK(data.validation().size() == 4 * kPoints);
  std::vector<std::string> turned(prompts.rbegin(), prompts.rend());
  CHECK(held_out(Dataset(cache, turned, 1, 0.2)) == held_out(data));
  for (const TrainingSample& s : data.training())
    CHECK_FALSE(held_out(data).contains(cache.item(s.item).prompt));
  // One prompt alone trains, whatever the fraction.
  CHECK(Dataset(cache, {"prompt 3"}, 1, 0.9).training().size() == kPoints);
  CHECK_THROWS_WITH(Dataset(cache, {"unknown"}, 1, 0.1), doctest::Contains("unknown"));
}

TEST_CASE("dataset: batches, weights and the re-noised term") {
  const TemporaryFolder folder;
  write_shard(folder / "shard_rank_0_0000.h5", {"a", "b", "c"}, settings());
  const TeacherCache cache(folder.path(), settings());
  const Dataset data(cache, {"a", "b", "c"}, 1, 0);
  const std::vector<TrainingSample> samples{{cache.find({"b", 0}), 1}, {cache.find({"c", 0}), 2}};
  const Shape picture{2, 2, 2};
  LossSettings loss{.relative = false, .renoise_weight = 0, .flow_shift = 3, .seed = 7};
  const TrainingBatch plain = data.load(samples, 10, loss, 5, 0, picture, kTextDim);
  CHECK(plain.size() == 2);
  CHECK(plain.latents[0] == 101);
  CHECK(plain.target[kSize] == -202);
  CHECK(plain.timesteps == std::vector<float>{500, 100});
  CHECK(plain.weight[0] == doctest::Approx(1.0 / (10 * kSize)));
  CHECK(plain.text.offsets == std::vector<int64_t>{0, 3, 7});  // 2 and 3 tokens, each with its zero row

  loss.relative = true;
  CHECK(data.load(samples, 10, loss, 5, 0, picture, kTextDim).weight[0] ==
        doctest::Approx(1.0 / (10 * kSize) / (101.0 * 101.0)));

  loss.relative = false;
  loss.renoise_weight = 0.25;
  const TrainingBatch both = data.load(samples, 10, loss, 5, 3, picture, kTextDim);
  REQUIRE(both.size() == 4);
  const float sigma = both.sigmas[1];
  CHECK(sigma > 0);
  CHECK(sigma < 1);
  for (int64_t j = 0; j < kSize; ++j) {
    const float x = both.latents[size_t(kSize + j)], v = both.target[size_t(kSize + j)];
    CHECK(x - sigma * v == doctest::Approx(1001).epsilon(1e-5));  // x0 of item b
  }
  CHECK(both.weight[1] == doctest::Approx(0.25 / (10 * kSize)));
  // A sample's noise depends on its position in the global batch, not on where a rank's share begins.
  const TrainingBatch second = data.load(std::span(samples).subspan(1), 10, loss, 5, 4, picture, kTextDim);
  CHECK(second.sigmas[1] == both.sigmas[3]);
  CHECK(std::equal(second.target.begin() + kSize, second.target.end(), both.target.begin() + 3 * kSize));
}

}  // namespace
}  // namespace wandistill
