#include "wandistill/plan.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <map>

#include "temporary_folder.h"
#include "wandistill/component_tensors.h"
#include "wandistill/flops.h"
#include "wandistill/safetensors.h"
#include "wandistill/wan_transformer.h"

namespace wandistill {
namespace {

using testing::check_mentions;
using testing::error_of;
using testing::put;
using testing::TemporaryFolder;

// Wan2.2-T2V-A14B as it is published.
constexpr int64_t C = 5120, F = 13824, kLayers = 40, kTokens = 4096, kText = 512;

WanConfig a14b() {
  WanConfig c;
  c.heads = 40;
  c.head_dim = 128;
  c.layers = kLayers;
  c.ffn_dim = F;
  c.in_channels = c.out_channels = 16;
  c.text_dim = 4096;
  c.freq_dim = 256;
  return c;
}

Umt5Config umt5_xxl() {
  return {.d_model = 4096,
          .d_kv = 64,
          .d_ff = 10240,
          .heads = 64,
          .layers = 24,
          .vocab_size = 256384,
          .buckets = 32,
          .max_distance = 128,
          .eps = 1e-6f};
}

std::string vae_json() {
  std::string zeros, ones;
  for (int i = 0; i < 16; ++i) zeros += i ? ",0" : "0", ones += i ? ",1" : "1";
  return R"({"base_dim": 96, "dim_mult": [1, 2, 4, 4], "num_res_blocks": 2, "z_dim": 16,
             "temperal_downsample": [false, true, true], "latents_mean": [)" +
         zeros + R"(], "latents_std": [)" + ones + "]}";
}

WanVaeConfig a14b_vae(const TemporaryFolder& folder) {
  put(folder / "config.json", vae_json());
  return WanVaeConfig::load(folder.path());
}

/// The job of data/student_1024.json with that teacher in bfloat16.
PlanInput a14b_job(const std::string& card) {
  const TemporaryFolder folder;
  PlanInput in;
  in.folder = "A14B";
  in.teacher = a14b();
  in.experts = 2;
  in.text_encoder = umt5_xxl();
  in.vae = a14b_vae(folder);
  in.student = StudentConfig::load("data/student_1024.json").to_wan_config();
  in.height = in.width = 1024;
  in.prompts.count = 100;
  in.options.save_samples = true;
  in.options.teacher.teacher_dtype = in.options.student_dtype = in.options.pictures.vae_dtype = "bfloat16";
  in.machine = Machine::of(card, 16);
  return in;
}

StageMemory memory(const PlanInput& in, Stage stage) {
  const std::vector<StageMemory> all = plan_memory(in, chosen_placement(in));
  return *std::ranges::find(all, stage, &StageMemory::stage);
}

/// By name, as a header has them.
std::map<std::string, Shape> by_name(const std::vector<TensorSpec>& tensors) {
  std::map<std::string, Shape> shapes;
  for (const TensorSpec& tensor : tensors) {
    CHECK_FALSE(shapes.contains(tensor.name));
    shapes[tensor.name] = tensor.shape;
  }
  return shapes;
}
std::map<std::string, Shape> headers(const std::string& folder, const std::string& stem) {
  std::map<std::string, Shape> shapes;
  const SafetensorsFolder files(folder, stem);
  for (const auto& [name, info] : files.tensors()) shapes[name] = info.shape;
  return shapes;
}

}  // namespace

TEST_CASE("plan: the tensors of every component are those of the embedded teacher's files") {
  const std::string weights = "diffusion_pytorch_model", teacher = "data/tiny-wan/";
  for (const char* part : {"transformer", "transformer_2"})
    CHECK(by_name(transformer_tensors(WanConfig::load(teacher + part))) == headers(teacher + part, weights));

  std::map<std::string, Shape> text = by_name(umt5_tensors(Umt5Config::load(teacher + "text_encoder")));
  const std::map<std::string, Shape> in_file = headers(teacher + "text_encoder", "model");
  if (!in_file.contains("shared.weight")) {
    auto table = text.extract("shared.weight");
    table.key() = "encoder.embed_tokens.weight";
    text.insert(std::move(table));
  }
  CHECK(text == in_file);

  std::vector<TensorSpec> vae = vae_decoder_tensors(WanVaeConfig::load(teacher + "vae"));
  const std::vector<TensorSpec> other = vae_other_tensors(teacher + "vae");
  for (const TensorSpec& tensor : vae) CHECK_FALSE(vae_tensor_unused(tensor.name));
  for (const TensorSpec& tensor : other) CHECK(vae_tensor_unused(tensor.name));
  vae.insert(vae.end(), other.begin(), other.end());
  CHECK(by_name(vae) == headers(teacher + "vae", weights));
}

TEST_CASE("plan: the parameters of A14B, by hand") {
  const int64_t attention = 4 * (C * C + C) + 2 * C;
  const int64_t block = 6 * C + 2 * attention + 2 * C + (2 * C * F + F + C);
  const int64_t embedders =
      (64 * C + C) + (256 * C + C) + (C * C + C) + (6 * C * C + 6 * C) + (4096 * C + C) + (C * C + C);
  const int64_t head = 2 * C + (64 * C + 64);
  CHECK(parameter_count(transformer_tensors(a14b())) == kLayers * block + embedders + head);
  CHECK(kLayers * block + embedders + head == 14'288'491'584);  // published: 14.29 B

  const int64_t layer = 4 * 4096 * 4096 + 32 * 64 + 3 * 4096 * 10240 + 2 * 4096;
  CHECK(parameter_count(umt5_tensors(umt5_xxl())) == 24 * layer + 4096 + 256384LL * 4096);  // 5.68 B

  const TemporaryFolder folder;
  const int64_t decoder = parameter_count(vae_decoder_tensors(a14b_vae(folder)));
  CHECK(decoder + parameter_count(vae_other_tensors(folder.path())) == 126'892'531);  // published: 127 M
}

TEST_CASE("plan: FLOPs of A14B at 1024 pixels, by hand") {
  const double N = kTokens, T = kText, c = C, f = F;
  const double products = 8 * N * c * c + 4 * N * c * c + 4 * T * c * c + 4 * N * c * f;
  const double attention = 4 * N * N * c + 4 * N * T * c, blocks = kLayers * (products + attention);
  CHECK(blocks == doctest::Approx(115.5e12).epsilon(0.001));
  const double inside = 2 * c * c + 12 * c * c + 2 * T * c * c + 2 * N * c * 64;
  const double first = 2 * N * c * 64 + 2 * T * c * 4096 + 2 * c * 256;
  CHECK(wan_forward_flops(a14b(), kTokens, kText) == doctest::Approx(blocks + inside + first).epsilon(1e-12));
  CHECK(wan_forward_flops(a14b(), kTokens, kText) == doctest::Approx(115.5e12).epsilon(0.01));

  const double backward = kLayers * (2 * products + 2.5 * attention) + 2 * inside + first;
  CHECK(wan_backward_flops(a14b(), kTokens, kText) == doctest::Approx(backward).epsilon(1e-12));
  const double both = blocks + inside + first + backward;
  CHECK(wan_training_flops(a14b(), kTokens, kText, false) == doctest::Approx(both).epsilon(1e-12));
  CHECK(wan_training_flops(a14b(), kTokens, kText, true) == doctest::Approx(both + blocks).epsilon(1e-12));

  const double n = 512, d = 4096;
  CHECK(umt5_flops(umt5_xxl(), 512) ==
        doctest::Approx(24 * (8 * n * d * d + 4 * n * n * d + 6 * n * d * 10240)).epsilon(1e-12));
  CHECK(text_rows(12) == 13);
  CHECK(text_rows(511) == 512);
  CHECK(text_rows(512) == 512);
}

TEST_CASE("plan: FLOPs of decoding 1024 pixels, by hand") {
  const TemporaryFolder folder;
  const WanVaeConfig vae = a14b_vae(folder);
  const double p = 128 * 128, m = 384 * 384;
  const double middle = 16 * 16 + 9 * 16 * 384 + 4 * (9 * m) + 4 * m, level0 = 6 * 9 * m;
  const double level1 = 9 * 384 * 192 + (9 * 192 * 384 + 9 * m + 192 * 384) + 4 * 9 * m;
  const double level2 = 9 * 384 * 192 + 6 * 9 * 192 * 192,
               level3 = 9 * 192 * 96 + 6 * 9 * 96 * 96 + 9 * 96 * 3;
  const double by_hand = 4 * p * p * 384 + 2 * p * (middle + level0 + 4 * level1 + 16 * level2 + 64 * level3);
  CHECK(vae_decode_flops(vae, 128, 128, 0) == doctest::Approx(by_hand).epsilon(1e-12));
  CHECK(vae_decode_flops(vae, 128, 128, 128) == doctest::Approx(by_hand).epsilon(1e-12));
  // Strips compute their edges again.
  CHECK(vae_decode_flops(vae, 128, 128, 32) > 1.01 * by_hand);
  CHECK(vae_decode_flops(vae, 128, 128, 8) > vae_decode_flops(vae, 128, 128, 32));
}

TEST_CASE("plan: where A14B's experts are, and the bytes of it") {
  const WanConfig config = a14b();
  const TeacherSizes sizes{config, 2, Dtype::kBfloat16};
  const int64_t expert = 2 * 14'288'491'584, block = 2 * 351'394'304;
  using enum TeacherPlacement;
  CHECK(sizes.gpu_bytes(kResident) == 2 * expert);
  CHECK(sizes.gpu_bytes(kExpert) == expert);
  CHECK(sizes.gpu_bytes(kStream) == expert - 38 * block);
  CHECK(sizes.gpu_bytes(kHost) == 0);
  CHECK(sizes.host_bytes(kResident) == 0);
  CHECK(sizes.host_bytes(kExpert) == 2 * expert);
  CHECK(sizes.host_bytes(kStream) == 2 * expert);
  CHECK(sizes.host_bytes(kHost) == 4 * expert);  // float32
  CHECK(sizes.streamed_bytes(kStream) == 40 * block);
  CHECK(sizes.streamed_bytes(kExpert) == 0);
  CHECK(sizes.choose(2 * expert) == kResident);
  CHECK(sizes.choose(2 * expert - 1) == kExpert);
  CHECK(sizes.choose(expert - 1) == kStream);
  CHECK(sizes.choose(expert - 38 * block - 1) == kHost);
  for (const TeacherPlacement placement : {kAuto, kResident, kExpert, kStream, kHost})
    CHECK(parse_teacher_placement(teacher_placement_name(placement)) == placement);
  check_mentions(error_of([] { parse_teacher_placement("gpu"); }), {"'gpu'", "resident", "stream"});
}

TEST_CASE("plan: memory of A14B's stages") {
  PlanInput in = a14b_job("h100");
  in.options.cache.teacher_batch = 16;
  CHECK(chosen_placement(in) == TeacherPlacement::kExpert);
  const int64_t encoder = 2 * (parameter_count(umt5_tensors(umt5_xxl())) - 256384LL * 4096);
  const StageMemory trajectories = memory(in, Stage::kTrajectories);
  const int64_t decoder = trajectories.weights - 2 * 14'288'491'584;
  CHECK(memory(in, Stage::kText).weights == encoder + decoder);
  // One temporal tap of each convolution; biases and norms are 0.1 % of them.
  const int64_t m = 384 * 384;
  const int64_t convolutions = 16 * 16 + 9 * 16 * 384 + 40 * m + 54 * m + 9 * 384 * 192 + 9 * 192 * 384 +
                               45 * m + 192 * 384 + 9 * 384 * 192 + 54 * 192 * 192 + 9 * 192 * 96 +
                               54 * 96 * 96 + 9 * 96 * 3;
  CHECK(double(decoder) == doctest::Approx(2.0 * double(convolutions)).epsilon(0.002));
  CHECK(trajectories.shared == 4 * 14'288'491'584);
  // The passes of 16 prompts, with and without guidance, of the most text.
  const int64_t passes =
      WanActivations::bytes(a14b(), Keep::kNothing, 32, kTokens, 16 * (512 + 2), Dtype::kBfloat16);
  const int64_t picture = 4 * 16 * 128 * 128;
  // The experts change places, so four batches are under way.
  CHECK(trajectories.activations == passes + 16 * (4 + 4) * picture);
  const int64_t trajectory = (2 * 25 + 1) * picture;
  CHECK(trajectories.host == 64 * trajectory);
  PlanInput many = in;
  many.options.cache.shard_mb = 20'000;
  CHECK(memory(many, Stage::kTrajectories).host == 100 * trajectory);
  many.prompts.count = 1'000;
  CHECK(memory(many, Stage::kTrajectories).host == ((20'000LL << 20) / trajectory) * trajectory);
  many.options.cache.cache_dtype = "bfloat16";  // of the files
  CHECK(memory(many, Stage::kTrajectories).host == (2 * (20'000LL << 20) / trajectory) * trajectory);
  in.options.teacher.teacher_sampler = "unipc";
  CHECK(memory(in, Stage::kTrajectories).activations == passes + 16 * (4 + 4 * 5) * picture);
  in.options.teacher.teacher_sampler = "ddim";
  // The student's start: one expert in float32 on the host.
  CHECK(memory(in, Stage::kStart).shared == (4 + 4) * 14'288'491'584);

  PlanInput longer = in;
  longer.options.gradient_checkpointing = true;
  const int64_t student = ParameterLayout(in.student).total();
  CHECK(memory(in, Stage::kTraining).weights == 24 * student + decoder);
  CHECK(memory(longer, Stage::kTraining).activations < memory(in, Stage::kTraining).activations / 3);
  CHECK(memory(in, Stage::kSaving).host == memory(in, Stage::kTraining).host + 16 * student);
  CHECK(memory(in, Stage::kPictures).computing() > memory(in, Stage::kSaving).computing());

  // With --zero 1 of moments, average, float32 weights and the gradients' sums a rank's part: a few numbers
  // more than an eighth on the last one.
  PlanInput sharded = in;
  sharded.options.zero = 1;
  CHECK(memory(sharded, Stage::kTraining).weights == memory(in, Stage::kTraining).weights);  // one rank
  PlanInput eight = in;
  eight.machine.world_size = sharded.machine.world_size = 8;
  CHECK(memory(eight, Stage::kTraining).weights == 24 * student + decoder);
  const int64_t part = memory(sharded, Stage::kTraining).weights - decoder - 8 * student;
  CHECK(part >= 20 * student / 8);
  CHECK(part <= 20 * (student / 8 + 7 * 100));
  CHECK(memory(sharded, Stage::kStart).host < memory(eight, Stage::kStart).host);
  CHECK(memory(sharded, Stage::kSaving).host == memory(eight, Stage::kSaving).host);
}

TEST_CASE("plan: what does not fit fits with the options that are named") {
  PlanInput in = a14b_job("h100");
  in.options.batch_size = 64;
  Plan plan = make_plan(in);
  REQUIRE(plan.misfits.size() == 1);
  CHECK(plan.misfits[0].stages == std::vector{Stage::kTraining, Stage::kPictures, Stage::kSaving});
  CHECK(plan.misfits[0].needed > in.machine.gpu_bytes);
  CHECK(plan.misfits[0].remedy == "--micro_batch 16");
  check_mentions(plan_text(plan), {"DOES NOT FIT into a rank's GPU: training", "--micro_batch 16"});
  in.options.micro_batch = 16;
  plan = make_plan(in);
  CHECK(plan.misfits.empty());
  check_mentions(plan_text(plan), {"Everything fits on the GPU"});

  // A node's memory, which options do not make smaller.
  in.machine.world_size = in.machine.ranks_per_node = 8;
  in.machine.host_bytes = int64_t(100e9);
  plan = make_plan(in);
  REQUIRE(plan.misfits.size() == 1);
  CHECK(plan.misfits[0].where == "a node's memory");
  check_mentions(plan.misfits[0].remedy, {"ranks per node"});
  const int64_t ranks = std::stoll(plan.misfits[0].remedy.substr(8));  // "at most N"
  in.machine.ranks_per_node = ranks;
  CHECK(make_plan(in).misfits.empty());
  in.machine.ranks_per_node = ranks + 1;
  CHECK_FALSE(make_plan(in).misfits.empty());

  // A card on which auto leaves the experts to the CPU.
  in = a14b_job("rtx4090");
  in.options.cache.teacher_batch = 32;
  plan = make_plan(in);
  CHECK(plan.placement == TeacherPlacement::kHost);
  CHECK(plan.faster_placement == "--teacher_batch 8");
  in.options.cache.teacher_batch = 8;
  plan = make_plan(in);
  CHECK(plan.placement == TeacherPlacement::kStream);
  CHECK(plan.faster_placement.empty());
}

TEST_CASE("plan: time of the experts' trajectories") {
  const PlanInput in = a14b_job("h100");
  const Plan plan = make_plan(in);
  const double trajectory =
      25 * (wan_forward_flops(a14b(), kTokens, 512) + wan_forward_flops(a14b(), kTokens, 2));
  CHECK(plan.work.trajectory == doctest::Approx(trajectory).epsilon(1e-12));
  const auto seconds = [](const Plan& of, TeacherPlacement placement) {
    return std::ranges::find(of.placements, placement, &PlacementPlan::placement)->seconds;
  };
  using enum TeacherPlacement;
  const double computing = trajectory / (0.4 * 989e12);
  CHECK(seconds(plan, kResident) == doctest::Approx(computing));
  CHECK(seconds(plan, kStream) == doctest::Approx(computing));  // eight pictures hide the transfer
  CHECK(seconds(plan, kExpert) == doctest::Approx(computing + 4 * 14'288'491'584 / 50e9 / 8));
  CHECK(seconds(plan, kHost) == doctest::Approx(trajectory / (16 * kCoreFlops)));
  PlanInput slow = in;
  slow.machine.link = 1e9;
  CHECK(seconds(make_plan(slow), kStream) == doctest::Approx(25 * 40 * 2.0 * 351'394'304 / 1e9 / 8));
  // Two ranks need half the time.
  PlanInput two = in;
  two.machine.world_size = two.machine.ranks_per_node = 2;
  CHECK(make_plan(two).time[1].seconds == doctest::Approx(plan.time[1].seconds / 2));
}

TEST_CASE("plan: files of A14B's job") {
  const Plan plan = make_plan(a14b_job("h100"));
  CHECK(plan.files.cache_trajectory == 4 * (51 * 16 * 128 * 128 + 512 * 4096));
  CHECK(plan.files.cache == 100 * plan.files.cache_trajectory);
  CHECK(double(plan.files.checkpoint) ==
        doctest::Approx(16.0 * double(plan.student_parameters)).epsilon(0.002));
  CHECK(plan.files.student == 4 * plan.student_parameters);  // with links to encoder and VAE
  CHECK(plan.training_samples == 95 * 25);
  CHECK(plan.steps == 100 * 75);
}

TEST_CASE("plan: memory of a run on the CPU") {
  // On the CPU all is in float32, whatever the options say; the ranks of a node share the experts.
  const PlanInput in = a14b_job("cpu");
  CHECK(chosen_placement(in) == TeacherPlacement::kHost);
  const StageMemory trajectories = memory(in, Stage::kTrajectories);
  CHECK(trajectories.host == 0);
  CHECK(trajectories.shared == 8 * 14'288'491'584);
  CHECK(trajectories.weights < 1'000'000'000);
  CHECK(memory(in, Stage::kStart).shared == trajectories.shared);
  PlanInput single = in;  // without weights converted for products of bfloat16
  single.options.teacher.teacher_dtype = "float32";
  CHECK(trajectories.activations == memory(single, Stage::kTrajectories).activations + (1 << 30));
  CHECK(memory(in, Stage::kSaving).computing() ==
        memory(in, Stage::kTraining).computing() + 16 * ParameterLayout(in.student).total());
}

TEST_CASE("plan: the page is at most 100 columns wide, and the JSON says the same") {
  for (const char* card : {"h100", "rtx4090", "cpu"}) {
    PlanInput in = a14b_job(card);
    in.machine.world_size = 1024;
    in.machine.ranks_per_node = 8;
    in.machine.host_bytes = int64_t(100e9);
    const Plan plan = make_plan(in);
    std::istringstream lines(plan_text(plan));
    for (std::string line; std::getline(lines, line);) {
      INFO(line);
      CHECK(line.size() <= 100);
    }
    const Json json = plan_json(plan);
    CHECK(json["parameters"]["expert"] == 14'288'491'584);
    CHECK(json["flops"]["expert_forward"].get<double>() == plan.work.expert_forward);
    CHECK(json["memory"].size() == plan.memory.size());
    CHECK(json["does_not_fit"].size() == plan.misfits.size());
    CHECK(json["placements"].size() == (std::string(card) == "cpu" ? 0 : 4));
  }
  check_mentions(error_of([] { Machine::of("h10", 1); }), {"'h10'", "h100", "cpu"});
}

}  // namespace wandistill
