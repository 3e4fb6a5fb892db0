#include "wandistill/flow_schedule.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "wandistill/error.h"

namespace wandistill {
namespace {

uint64_t fnv1a(const std::vector<uint32_t>& words) {
  uint64_t hash = 0xcbf29ce484222325ull;
  for (const uint32_t word : words) {
    for (int shift = 0; shift < 32; shift += 8) hash = (hash ^ ((word >> shift) & 0xff)) * 0x100000001b3ull;
  }
  return hash;
}

std::vector<uint32_t> bits(const std::vector<float>& values) {
  std::vector<uint32_t> words;
  for (const float v : values) words.push_back(std::bit_cast<uint32_t>(v));
  return words;
}

std::vector<uint32_t> words(const std::vector<int64_t>& values) {
  return {values.begin(), values.end()};
}

// UniPCMultistepScheduler.set_timesteps of diffusers 0.42.1: hashes of the float32 sigmas and of the integer
// timesteps.
struct Recorded {
  double shift;
  int64_t steps;
  uint64_t sigmas, timesteps;
};
const Recorded kRecorded[] = {
    {1, 1, 0x66f72bd1efa868b1ull, 0x61377c9c77daba37ull},
    {1, 2, 0xf03d5bec6af40059ull, 0x57ae26c2ab81fdc8ull},
    {1, 5, 0x0003b38c000a8a24ull, 0xad3813278ec3ff37ull},
    {1, 10, 0x9b793e34b7bf96d1ull, 0x82e0a0eec6ef6fd8ull},
    {1, 25, 0x314e1957ea7f86c2ull, 0x35476972d68be41cull},
    {1, 50, 0xa95c4c8f41b63fbfull, 0xa0df31fa16b0bee3ull},
    {3, 1, 0x66f72bd1efa868b1ull, 0x61377c9c77daba37ull},
    {3, 2, 0x8e1426691992b144ull, 0x0e8f747a0f383393ull},
    {3, 5, 0x0959bbe0fdce357dull, 0xe9c2f178b73c7ac1ull},
    {3, 10, 0xa262c7bff5ccb5c2ull, 0x669aabd689ae5a74ull},
    {3, 25, 0x76bd050594d2cc7eull, 0x6f5eb53f3fd064dfull},
    {3, 50, 0x07386d2f9138fcd6ull, 0xc1fe97570b3c09f3ull},
    {5, 1, 0x66f72bd1efa868b1ull, 0x61377c9c77daba37ull},
    {5, 2, 0x8ad8144e6c193f13ull, 0x39486840bd58462bull},
    {5, 5, 0x19cde63aab3a5cc4ull, 0x5dd967de0da2096full},
    {5, 10, 0x4aa4028aef769cf0ull, 0xf5ab1a1ca3e58378ull},
    {5, 25, 0x358030558e9b7240ull, 0xbb10c07501268352ull},
    {5, 50, 0xfaa6e740422d3138ull, 0x50c5aef187110e43ull},
    {12, 1, 0x66f72bd1efa868b1ull, 0x61377c9c77daba37ull},
    {12, 2, 0x8cfa2f430f71c8c9ull, 0x1ace9e03004e076dull},
    {12, 5, 0xa2f1cfcf048b2cbaull, 0x0f846fc29f05c203ull},
    {12, 10, 0x383c6e05394b99a1ull, 0x4a3c8c6b088ab771ull},
    {12, 25, 0x487c47817758fad1ull, 0x9b3026223d6aa122ull},
    {12, 50, 0x7ed095619049009cull, 0x5a31bd4a3b19f05aull},
};

TEST_CASE("flow schedule: sigmas and integer timesteps are those of diffusers, bit for bit") {
  const std::vector<uint32_t> shift3 = {0x3f7fffef, 0x3f76ddf0, 0x3f6c5496, 0x3f600a3d,
                                        0x3f51849b, 0x3f401890, 0x3f2acf0d, 0x3f1035b7,
                                        0x3edc0e07, 0x3e80f564, 0x00000000};
  CHECK(bits(flow_sigmas(10, 3)) == shift3);  // also sample/unipc_sigmas of tests/golden/tiny-wan.h5
  const std::vector<int64_t> timesteps3 = {999, 964, 923, 875, 818, 750, 667, 563, 429, 251};
  CHECK(flow_integer_timesteps(10, 3) == timesteps3);
  const std::vector<uint32_t> shift5 = {0x3f7fffef, 0x3f73d2f4, 0x3f61ed37,
                                        0x3f45095d, 0x3f0e89a7, 0x00000000};
  CHECK(bits(flow_sigmas(5, 5)) == shift5);
  for (const Recorded& r : kRecorded) {
    CAPTURE(r.shift);
    CAPTURE(r.steps);
    CHECK(fnv1a(bits(flow_sigmas(r.steps, r.shift))) == r.sigmas);
    CHECK(fnv1a(words(flow_integer_timesteps(r.steps, r.shift))) == r.timesteps);
  }
}

TEST_CASE("flow schedule: points are alpha = 1 - sigma and untruncated timesteps") {
  const auto points = flow_schedule(10, 3);
  REQUIRE(points.size() == 11);
  CHECK(points[0].timestep == doctest::Approx(999.999).epsilon(1e-7));
  for (const auto& p : points) CHECK(p.alpha == 1 - p.sigma);
  CHECK(points[10].sigma == 0);
  CHECK(points[10].alpha == 1);
  CHECK_THROWS_AS(flow_schedule(0, 3), Error);
  CHECK_THROWS_AS(flow_schedule(10, 0), Error);
}

TEST_CASE("linear schedule: variance preserving, off 0 and 1 except at the end") {
  for (const int64_t steps : {1, 5, 7, 77, 2000}) {
    const auto points = linear_schedule(steps);
    REQUIRE(static_cast<int64_t>(points.size()) == steps + 1);
    for (int64_t i = 0; i < steps; ++i) {
      CHECK(points[i].alpha * points[i].alpha + points[i].sigma * points[i].sigma == doctest::Approx(1));
      CHECK(points[i].alpha >= std::sqrt(1e-3f) * 0.9999f);
      CHECK(points[i].sigma >= std::sqrt(1e-3f) * 0.9999f);
      CHECK(points[i + 1].sigma <= points[i].sigma);
      CHECK(points[i].timestep == doctest::Approx(1000 * points[i].sigma * points[i].sigma));
    }
    CHECK(points[steps].alpha == 1);
    CHECK(points[steps].sigma == 0);
  }
}

/// A model folder whose scheduler config is the given text; gone at the end.
class Folder {
 public:
  explicit Folder(const std::string& config)
      : path_(std::filesystem::temp_directory_path() / cat("wandistill_scheduler_", ::getpid())) {
    std::filesystem::create_directories(path_ / "scheduler");
    std::ofstream(path_ / "scheduler" / "scheduler_config.json") << config;
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  std::string path() const { return path_.string(); }

 private:
  std::filesystem::path path_;
};

std::string error_of(const std::string& config) {
  const Folder folder(config);
  try {
    SchedulerConfig::load(folder.path());
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

TEST_CASE("scheduler config: the default teacher's") {
  const SchedulerConfig config = SchedulerConfig::load("data/tiny-wan");
  CHECK(config.flow_shift == 3);
  CHECK(config.solver_order == 2);
  CHECK(config.lower_order_final);
  CHECK(config.disable_corrector.empty());
}

TEST_CASE("scheduler config: what we do not compute is refused by file and key") {
  const std::string good =
      R"("_class_name": "UniPCMultistepScheduler", "prediction_type": "flow_prediction", "use_flow_sigmas": true)";
  CHECK(error_of("{" + good + "}") == "");
  const struct {
    std::string config, key;
  } bad[] = {
      {R"({"_class_name": "DDIMScheduler"})", "_class_name"},
      {R"({"_class_name": "UniPCMultistepScheduler", "use_flow_sigmas": true})", "prediction_type"},
      {R"({"_class_name": "UniPCMultistepScheduler", "prediction_type": "flow_prediction"})",
       "use_flow_sigmas"},
      {"{" + good + R"(, "solver_type": "bh1"})", "solver_type"},
      {"{" + good + R"(, "solver_order": 4})", "solver_order"},
      {"{" + good + R"(, "lower_order_final": false})", "lower_order_final"},
      {"{" + good + R"(, "use_karras_sigmas": true})", "use_karras_sigmas"},
      {"{" + good + R"(, "shift_terminal": 0.1})", "shift_terminal"},
      {"{" + good + R"(, "num_train_timesteps": 500})", "num_train_timesteps"},
      {"{" + good + R"(, "flow_shift": 0})", "flow_shift"},
  };
  for (const auto& b : bad) {
    const std::string message = error_of(b.config);
    CAPTURE(message);
    CHECK(message.find("scheduler_config.json") != std::string::npos);
    CHECK(message.find(b.key) != std::string::npos);
  }
}

}  // namespace
}  // namespace wandistill
