// The teacher cache on disk and the samples made of it, on a shard written by hand.
#include "wandistill/teacher_cache.h"

#include <doctest/doctest.h>

#include <cmath>
#include <set>

#include "src/teacher/cache_shard.h"
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

/// Record i of `prompts`: two points of value i + 1/3 and -(i + 1/3).
std::vector<Trajectory> records(const std::vector<std::string>& prompts) {
  std::vector<Trajectory> all(prompts.size());
  for (size_t i = 0; i < prompts.size(); ++i) {
    const float value = float(i) + 1.0f / 3;
    all[i].item = {prompts[i], 1};
    all[i].latents.assign(size_t(kPoints * kSize), value);
    all[i].velocity.assign(size_t(kPoints * kSize), -value);
    all[i].x0.assign(size_t(kSize), value);
  }
  return all;
}

const std::vector<float> kSigmas{1.0f, 0.5f, 0.1f};

TEST_CASE("teacher cache: 16-bit types round to nearest and say what it cost") {
  for (const auto& [name, bound] :
       {std::pair{"bfloat16", 1.01 * 0x1p-9}, {"float16", 1.01 * 0x1p-12}, {"float32", 0.0}}) {
    CAPTURE(name);
    const TemporaryFolder folder;
    CacheSettings made_with = settings();
    made_with.dtype = name;
    std::vector<Trajectory> all = records({"a", "b"});
    for (Trajectory& record : all) record.round_to(parse_stored_dtype(name));
    write_h5_atomically(folder / "shard_1.h5", [&](H5File& file) {
      write_trajectories(file, made_with.to_json().dump(), parse_stored_dtype(name), kSigmas, {2, 2, 2}, all);
    });
    const TeacherCache cache(folder.path(), made_with);
    const int64_t b = cache.find({"b", 1});
    REQUIRE(b >= 0);
    float latents[kSize], velocity[kSize], x0[kSize];
    cache.read_point(b, 2, latents, velocity);
    cache.read_x0(b, x0);
    const double error = std::abs(double(latents[0]) - double(4.0f / 3)) / double(4.0f / 3);
    CHECK(error <= bound);
    CHECK(velocity[0] == -latents[0]);
    CHECK(x0[1] == latents[1]);
    CHECK(cache.rounding(b).first == doctest::Approx(error).epsilon(1e-5));
    CHECK((bound == 0 || error > 0));
    const Trajectory read = cache.read_trajectory(b);
    CHECK(read.latents == all[1].latents);
    CHECK(read.item == CacheItem{"b", 1});
    // Another type is other settings.
    CacheSettings other = made_with;
    other.dtype = made_with.dtype == "float32" ? "bfloat16" : "float32";
    check_mentions(error_of([&] { TeacherCache(folder.path(), other); }), {"cache_dtype", name, other.dtype});
  }
  Trajectory large = records({"a"})[0];
  large.velocity[1] = 7e4f;
  check_mentions(error_of([&] { large.round_to(StoredDtype::kFloat16); }), {"70000", "bfloat16"});
}

TEST_CASE("teacher cache: texts have shards of their own; shards come in while it is open") {
  const TemporaryFolder folder;
  write_shard(folder / "shard_rank_0_0000.h5", {"a", "b"},
              settings());  // with texts, without a dtype, as before
  TeacherCache cache(folder.path(), settings());
  CHECK_FALSE(cache.has_text("c"));
  CHECK(error_of([&] { cache.read_text("c"); }).find("'c'") != std::string::npos);
  write_h5_atomically(folder / "shard_rank_0_0001.h5", [&](H5File& file) {
    write_trajectories(file, settings().to_json().dump(), StoredDtype::kFloat32, kSigmas, {2, 2, 2},
                       records({"c", "b"}));
  });
  const std::vector<PromptText> texts{{"c", {2, {1, 2, 3, 4, 5, 6}}}, {"d", {1, {7, 8, 9}}}};
  write_h5_atomically(folder / "text_rank_0_0000.h5", [&](H5File& file) {
    write_texts(file, settings().text_json().dump(), kTextDim, texts);
  });
  cache.refresh();
  CHECK(cache.items() == 4);
  CHECK(cache.read_text(cache.find({"c", 1})).rows == texts[0].text.rows);
  CHECK(cache.read_text("d").tokens == 1);
  CHECK(cache.read_text(cache.find({"b", 1})).tokens == 2);  // from the old shard
  CHECK(cache.texts() == std::vector<std::string>{"a", "b", "c", "d"});
  CacheSettings other = settings();
  other.teacher_fingerprint = 1;
  std::filesystem::remove(folder / "shard_rank_0_0000.h5");
  std::filesystem::remove(folder / "shard_rank_0_0001.h5");
  check_mentions(error_of([&] { TeacherCache(folder.path(), other); }),
                 {"text_rank_0_0000.h5", "teacher_fingerprint", "abc"});
}

TEST_CASE("teacher cache: a record that is not what it was does not pass for one") {
  const TemporaryFolder folder;
  const auto write = [&](const std::vector<float>& sigmas, const std::string& first_prompt) {
    write_h5_atomically(folder / "shard_1.h5", [&](H5File& file) {
      write_trajectories(file, settings().to_json().dump(), StoredDtype::kFloat32, sigmas, {2, 2, 2},
                         records({first_prompt, "b"}));
    });
    const H5File file = H5File::open_read(folder / "shard_1.h5");
    return TrajectoryIndex::read(file);
  };
  const TrajectoryIndex good = write(kSigmas, "a");
  const H5File file = H5File::open_read(folder / "shard_1.h5");
  CHECK(read_trajectory(file, good, 0).item.prompt == "a");
  const auto refused = [&](const TrajectoryIndex& index) {
    check_mentions(error_of([&] { read_trajectory(file, index, 0); }),
                   {"shard_1.h5", "record 0", "checksum"});
  };
  TrajectoryIndex bad = good;
  bad.sigmas[1] = 0.25f;
  refused(bad);
  bad = good;
  bad.items[0].prompt = "A";
  refused(bad);
  bad = good;
  bad.items[0].repetition = 2;
  refused(bad);
  bad = good;
  bad.settings += " ";
  refused(bad);
  bad = good;
  bad.rounding[0] = 1;
  refused(bad);
  CHECK(write({1.0f, 0.5f, 0.2f}, "a").checksums[0] != good.checksums[0]);
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
