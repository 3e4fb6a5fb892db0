// An exported student's folder: against what diffusers writes for the same sizes, and what failures leave
// behind.
#include "wandistill/export.h"

#include <doctest/doctest.h>

#include <algorithm>

#include "tests/unit/file_limit.h"
#include "tests/unit/temporary_folder.h"
#include "wandistill/file.h"
#include "wandistill/flow_schedule.h"
#include "wandistill/json.h"
#include "wandistill/model_folder.h"
#include "wandistill/safetensors.h"
#include "wandistill/umt5.h"
#include "wandistill/wan_vae.h"

namespace wandistill {
namespace {

namespace fs = std::filesystem;
using testing::check_mentions;
using testing::error_of;
using testing::put;
using testing::TemporaryFolder;

const fs::path kTeacher = "data/tiny-wan";

/// The student that tests/golden/student_folder.txt was recorded for.
struct Student {
  WanTransformer transformer{WanConfig{.heads = 2,
                                       .head_dim = 32,
                                       .layers = 2,
                                       .ffn_dim = 192,
                                       .in_channels = 16,
                                       .out_channels = 16,
                                       .text_dim = 96,
                                       .freq_dim = 256,
                                       .rope_max_seq_len = 64}};
  std::vector<float> weights;
  ExportInfo info{.steps = 9,
                  .flow_shift = 2.5,
                  .height = 96,
                  .width = 96,
                  .teacher_name = "tiny-wan",
                  .example_prompt = "it's a \"cat\"",
                  .training_facts = {{"epochs", "7"}, {"what | ever", "a\nb"}},
                  .contact_sheet = {}};

  explicit Student(float first = 0) {
    for (int64_t i = 0; i < transformer.layout().total(); ++i) weights.push_back(first + float(i) / 1024);
  }
  void write(const fs::path& folder, const fs::path& teacher = kTeacher) const {
    export_student(folder, teacher, transformer, weights.data(), info);
  }
};

std::vector<std::string> lines_of(const std::string& text) {
  std::istringstream in(text);
  std::vector<std::string> lines;
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

std::vector<std::string> describe(const fs::path& folder) {
  std::vector<std::string> lines;
  for (const std::string name :
       {"model_index.json", "scheduler/scheduler_config.json", "transformer/config.json"}) {
    const JsonObject object = JsonObject::load(folder / name);
    for (const auto& [key, value] : object.json().items()) {
      if (key == "_class_name" || !(key.starts_with("_") || key == "tokenizer"))
        lines.push_back(cat(name, " ", key, " ", value.dump()));
    }
  }
  const std::string weights = "transformer/diffusion_pytorch_model.safetensors";
  const SafetensorsFolder tensors(folder / "transformer", "diffusion_pytorch_model");
  for (const auto& [name, tensor] : tensors.tensors())
    lines.push_back(cat(weights, " ", name, " ", dtype_name(tensor.dtype), " ", Json(tensor.shape).dump()));
  std::sort(lines.begin(), lines.end());
  return lines;
}

TEST_CASE("export: configs, tensor names and shapes are diffusers' own") {
  const TemporaryFolder folder;
  Student().write(folder / "student");
  const std::vector<std::string> expected = lines_of(read_file("tests/golden/student_folder.txt"));
  const std::vector<std::string> found = describe(folder / "student");
  REQUIRE(found.size() == expected.size());
  for (size_t i = 0; i < found.size(); ++i) CHECK(found[i] == expected[i]);
  CHECK(folder.count() == 1);
}

TEST_CASE("export: this program reads the folder back, weights to the bit") {
  const TemporaryFolder folder;
  const Student student;
  student.write(folder / "student/");  // with a slash too
  const fs::path path = folder / "student";
  const ModelIndex index = ModelIndex::load(path);
  CHECK_FALSE(index.boundary_ratio.has_value());
  CHECK_FALSE(index.has_transformer_2);
  CHECK(index.image_size == std::pair<int64_t, int64_t>(96, 96));
  const Json tokenizer = JsonObject::load(path / "model_index.json").json()["tokenizer"];
  CHECK(tokenizer.dump() == "[\"transformers\",\"PreTrainedTokenizerFast\"]");
  const SchedulerConfig scheduler = SchedulerConfig::load(path.string());
  CHECK(scheduler.flow_shift == 2.5);
  CHECK(scheduler.solver_order == 1);
  CHECK(scheduler.disable_corrector.size() == 1000);
  const Buffer<float> weights = load_wan_weights(path / "transformer", student.transformer.layout());
  CHECK(std::equal(weights.begin(), weights.end(), student.weights.begin()));
  CHECK(Umt5Encoder(path / "text_encoder").width() == 96);
  CHECK(WanVaeDecoder(path / "vae").config().z_dim == 16);
  CHECK(read_file(path / "tokenizer" / "spiece.model") == read_file(kTeacher / "tokenizer" / "spiece.model"));
}

TEST_CASE("export: the model card says how to use it") {
  const TemporaryFolder folder;
  Student student;
  student.info.contact_sheet = put(folder / "sheet.png", "a picture");
  student.info.height = 64;
  student.write(folder / "student");
  check_mentions(
      read_file(folder / "student" / "README.md"),
      {"library_name: diffusers", "tiny-wan", "![", "](contact_sheet.png)", "num_frames=1",
       "guidance_scale=1.0", "num_inference_steps=9", "height=64, width=96", "prompt=\"it's a \\\"cat\\\"\"",
       "--prompt 'it'\\''s a \"cat\"'", "--steps 9", "| flow shift | 2.5 |", "| what \\| ever | a b |"});
  CHECK(read_file(folder / "student" / "contact_sheet.png") == "a picture");
  CHECK(ModelIndex::load(folder / "student").image_size == std::pair<int64_t, int64_t>(64, 96));
}

TEST_CASE("export: large shared components are linked") {
  const TemporaryFolder folder;
  fs::copy(kTeacher, folder / "teacher", fs::copy_options::recursive);
  put(folder / "teacher" / "vae" / "large.bin", "");
  fs::resize_file(folder / "teacher" / "vae" / "large.bin", uintmax_t{1} << 30);  // sparse
  Student().write(folder / "student", folder / "teacher");
  for (const char* name : {"text_encoder", "tokenizer", "vae"}) {
    CHECK(fs::is_symlink(folder / "student" / name));
    CHECK(fs::equivalent(folder / "student" / name, folder / "teacher" / name));
  }
  check_mentions(read_file(folder / "student" / "README.md"),
                 {"symbolic links", (folder / "teacher").string()});
  Student(1).write(folder / "student", folder / "teacher");  // replacing links leaves the teacher alone
  CHECK(fs::exists(folder / "teacher" / "vae" / "large.bin"));
}

TEST_CASE("export: an older student is replaced; it survives a failure, which leaves nothing else") {
  const TemporaryFolder folder;
  const auto first_weight = [&] {
    const SafetensorsFolder tensors(folder / "student" / "transformer", "diffusion_pytorch_model");
    std::vector<float> values(64 * 16 * 4);
    tensors.read("patch_embedding.weight", {64, 16, 1, 2, 2}, values.data());
    return values[0];
  };
  Student(1).write(folder / "student");
  CHECK(first_weight() == 1);
  put(folder / "student" / "from_the_old_one", "");
  Student(2).write(folder / "student");
  CHECK(first_weight() == 2);
  CHECK_FALSE(fs::exists(folder / "student" / "from_the_old_one"));
  CHECK(folder.count() == 1);

  Student without_sheet(3);
  without_sheet.info.contact_sheet = folder / "no_such.png";
  check_mentions(error_of([&] { without_sheet.write(folder / "student"); }), {"no_such.png"});
  CHECK(first_weight() == 2);
  CHECK(folder.count() == 1);

  {
    const testing::FileSizeLimit full_disk(100000);
    check_mentions(error_of([&] { Student(3).write(folder / "student"); }), {"student", "File too large"});
  }
  CHECK(first_weight() == 2);
  CHECK(folder.count() == 1);

  fs::copy(kTeacher, folder / "teacher", fs::copy_options::recursive);
  fs::remove_all(folder / "teacher" / "vae");
  check_mentions(error_of([&] { Student(3).write(folder / "student", folder / "teacher"); }),
                 {"student", "vae"});
  CHECK(first_weight() == 2);
  CHECK(folder.count() == 2);
}

TEST_CASE("export: what is no model folder is never replaced") {
  const TemporaryFolder folder;
  fs::create_directory(folder / "photos");
  put(folder / "photos" / "cat.png", "a cat");
  check_mentions(error_of([&] { Student().write(folder / "photos"); }), {"photos", "other files"});
  CHECK(read_file(folder / "photos" / "cat.png") == "a cat");
  put(folder / "file", "");
  check_mentions(error_of([&] { Student().write(folder / "file"); }), {"file", "not a folder"});
  check_mentions(error_of([&] { Student().write(folder / "file" / "student"); }), {"file"});
  fs::copy(kTeacher, folder / "teacher", fs::copy_options::recursive);
  check_mentions(error_of([&] { Student().write(folder / "teacher", folder / "teacher"); }),
                 {"its own teacher"});
  fs::create_directory(folder / "empty");
  Student().write(folder / "empty");
  CHECK(fs::exists(folder / "empty" / "model_index.json"));
  CHECK(folder.count() == 4);
}

}  // namespace
}  // namespace wandistill
