#include "wandistill/safetensors.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>

#include "file_limit.h"
#include "temporary_folder.h"
#include "wandistill/file.h"

namespace wandistill::testing {
namespace {

namespace {

/// A safetensors file of a header and data as they are.
std::string raw_file(const std::string& header, const std::string& data) {
  const uint64_t length = header.size();
  std::string content(8, '\0');
  std::memcpy(content.data(), &length, 8);
  return content + header + data;
}

template <class T>
std::string bytes_of(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

/// What opening a folder with this one file says.
std::string error_for(const std::string& content) {
  const TemporaryFolder folder;
  put(folder / "model.safetensors", content);
  return error_of([&] { SafetensorsFolder(folder.path(), "model"); });
}

const std::vector<float> kSix = {1, 2, 3, 4, 5, 6};

void write_shard(const std::filesystem::path& path, const std::vector<std::string>& names) {
  std::vector<NamedTensor> tensors;
  for (const std::string& name : names) tensors.push_back({name, {2, 3}, kSix.data()});
  write_safetensors(path, tensors);
}

}  // namespace

TEST_CASE("safetensors: what is written is read back, with an aligned header") {
  const TemporaryFolder folder;
  const std::vector<float> a = {1.5f, -0.0f, std::numeric_limits<float>::infinity(), 1e-42f, 7}, b = {3};
  write_safetensors(folder / "model.safetensors",
                    {{"b", {5}, a.data()}, {"a.weight", {}, b.data()}, {"none", {0, 4}, nullptr}});
  const std::string content = read_file(folder / "model.safetensors");
  uint64_t length = 0;
  std::memcpy(&length, content.data(), 8);
  CHECK(length % 8 == 0);
  CHECK(content.size() == 8 + length + 24);
  const auto header = nlohmann::json::parse(content.substr(8, length));
  CHECK(header["__metadata__"]["format"] == "pt");
  CHECK(header["b"]["dtype"] == "F32");

  const SafetensorsFolder weights(folder.path(), "model");
  CHECK(weights.names() == std::vector<std::string>{"a.weight", "b", "none"});
  CHECK(weights.has("b"));
  CHECK_FALSE(weights.has("c"));
  std::vector<float> out(5, -1);
  weights.read("b", {5}, out.data());
  CHECK(std::memcmp(out.data(), a.data(), 20) == 0);
  weights.read("a.weight", {}, out.data());
  CHECK(out[0] == 3);
  CHECK(weights.info("b").dtype == DType::F32);
  CHECK(weights.info("b").end - weights.info("b").begin == 20);
}

TEST_CASE("safetensors: every floating dtype, unaligned data included") {
  const TemporaryFolder folder;
  const std::string half =
      bytes_of<uint16_t>({0x3c00, 0xc000, 0x0001, 0x83ff, 0x7c00, 0x7e00, 0x3555, 0x8000});
  const std::string brain = bytes_of<uint16_t>({0x3f80, 0xc000, 0x7f80, 0x0001, 0x3eab});
  const std::string wide = bytes_of<double>({0.1, -2, 1e300});
  const std::string header = R"({"odd":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                             R"("half":{"dtype":"F16","shape":[8],"data_offsets":[1,17]},)"
                             R"("brain":{"dtype":"BF16","shape":[5],"data_offsets":[17,27]},)"
                             R"("wide":{"dtype":"F64","shape":[3,1],"data_offsets":[27,51]}})";
  put(folder / "model.safetensors", raw_file(header, "x" + half + brain + wide));
  const SafetensorsFolder weights(folder.path(), "model");
  std::vector<float> out(8);
  weights.read("half", {8}, out.data());
  CHECK(out[0] == 1.0f);
  CHECK(out[1] == -2.0f);
  CHECK(out[2] == std::ldexp(1.0f, -24));
  CHECK(out[3] == -std::ldexp(1023.0f, -24));
  CHECK(std::isinf(out[4]));
  CHECK(std::isnan(out[5]));
  CHECK(out[6] == std::ldexp(1365.0f, -12));
  CHECK((out[7] == 0 && std::signbit(out[7])));
  weights.read("brain", {5}, out.data());
  CHECK(out[0] == 1.0f);
  CHECK(out[1] == -2.0f);
  CHECK(std::isinf(out[2]));
  CHECK(out[3] == std::ldexp(1.0f, -133));
  CHECK(out[4] == 0.333984375f);
  weights.read("wide", {3, 1}, out.data());
  CHECK(out[0] == 0.1f);
  CHECK(out[1] == -2.0f);
  CHECK(std::isinf(out[2]));
  check_mentions(error_of([&] { weights.read("odd", {1}, out.data()); }),
                 {"model.safetensors", "'odd'", "expected F32, F16, BF16 or F64", "U8"});
}

TEST_CASE("safetensors: the embedded teacher opens, shards and single files") {
  const SafetensorsFolder transformer("data/tiny-wan/transformer", "diffusion_pytorch_model");
  const TensorInfo& patch = transformer.info("patch_embedding.weight");
  CHECK(patch.shape.size() == 5);
  std::vector<float> out(static_cast<size_t>(element_count(patch.shape)));
  transformer.read("patch_embedding.weight", patch.shape, out.data());
  double sum = 0;
  for (const float x : out) sum += x * x;
  CHECK(std::isfinite(sum));
  CHECK(sum > 0);
  CHECK(SafetensorsFolder("data/tiny-wan/text_encoder", "model").names().size() > 10);
}

TEST_CASE("safetensors: missing tensors, wrong shapes and unknown tensors are named") {
  const TemporaryFolder folder;
  write_shard(folder / "model.safetensors", {"blocks.0.weight", "extra.bias", "extra.weight"});
  const SafetensorsFolder weights(folder.path(), "model");
  float out[6];
  check_mentions(error_of([&] {
                   weights.read("blocks.0.weigth", {2, 3}, out);
                 }),
                 {folder.path().string(), "'blocks.0.weigth' is missing", "did you mean 'blocks.0.weight'"});
  check_mentions(error_of([&] {
                   weights.read("blocks.0.weight", {3, 2}, out);
                 }),
                 {"model.safetensors", "'blocks.0.weight'", "expected shape [3, 2]", "found [2, 3]"});
  const auto none = [](const std::string&) { return false; };
  check_mentions(error_of([&] { weights.refuse_unknown({"blocks.0.weight"}, none); }),
                 {"model.safetensors", "unknown tensor 'extra.bias' and 1 more"});
  weights.refuse_unknown({"blocks.0.weight"},
                         [](const std::string& name) { return name.starts_with("extra."); });
}

TEST_CASE("safetensors: damaged files are refused with file and tensor") {
  const std::string entry = R"({"t":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", data(8, 'x');
  CHECK(error_for(raw_file(entry, data)) == "no error");
  check_mentions(error_for(""), {"model.safetensors", "empty"});
  check_mentions(error_for("abc"), {"model.safetensors", "only 3 bytes"});
  check_mentions(error_for(std::string(8, '\xff') + "{}"),
                 {"damaged safetensors header", "18446744073709551615"});
  check_mentions(error_for(raw_file(entry, data).substr(0, 20)), {"damaged safetensors header"});
  check_mentions(error_for(raw_file("{\"t\":", data)), {"damaged safetensors header", "parse error"});
  check_mentions(error_for(raw_file("{\"\x80\xff\":1}", data)), {"damaged safetensors header"});
  check_mentions(error_for(raw_file("[1, 2]", data)), {"not a JSON object"});
  check_mentions(error_for(raw_file(entry, "xxxx")), {"'t'", "outside of the file's 4 bytes"});
  check_mentions(error_for(raw_file(entry, data + "y")), {"1 bytes after the last tensor"});
  const auto with = [&](const std::string& dtype, const std::string& shape, const std::string& offsets) {
    return error_for(raw_file(
        R"({"t":{"dtype":)" + dtype + R"(,"shape":)" + shape + R"(,"data_offsets":)" + offsets + "}}", data));
  };
  check_mentions(with("\"F31\"", "[2]", "[0,8]"), {"'t'", "unknown dtype \"F31\""});
  check_mentions(with("\"F32\"", "[3]", "[0,8]"), {"'t'", "shape [3] takes 12 bytes", "hold 8"});
  check_mentions(with("\"F32\"", "[-2]", "[0,8]"), {"'t'", "non-negative integer", "-2"});
  check_mentions(with("\"F32\"", "[2.5]", "[0,8]"), {"'t'", "non-negative integer", "2.5"});
  check_mentions(with("\"F32\"", "[4294967296,4294967296]", "[0,8]"), {"'t'", "impossible shape"});
  check_mentions(with("\"F32\"", "7", "[0,8]"), {"'t'", "shape is not a list"});
  check_mentions(with("\"F32\"", "[2]", "[8,0]"), {"'t'", "outside"});
  check_mentions(with("\"F32\"", "[2]", "[0]"), {"'t'", "not a pair"});
  check_mentions(error_for(raw_file(R"({"t":{"dtype":"F32"}})", data)),
                 {"'t'", "needs dtype, shape and data_offsets"});
  check_mentions(
      error_for(raw_file(
          R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
          data)),
      {"'b' overlaps"});
  check_mentions(error_for(raw_file(R"({"t":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", data)),
                 {"4 bytes before tensor 't'"});
}

TEST_CASE("safetensors: damaged or incomplete sharding is refused") {
  const TemporaryFolder folder;
  const auto open = [&] { return error_of([&] { SafetensorsFolder(folder.path(), "model"); }); };
  check_mentions(open(),
                 {folder.path().string(), "neither model.safetensors nor model.safetensors.index.json"});
  check_mentions(error_of([&] { SafetensorsFolder(folder / "none", "model"); }), {"/none", "no such folder"});

  write_shard(folder / "m-1.safetensors", {"a", "b"});
  const auto index = folder / "model.safetensors.index.json";
  put(index, R"({"weight_map": {"a": "m-1.safetensors", "b": "m-1.safetensors", "c": "m-2.safetensors"}})");
  check_mentions(open(), {"m-2.safetensors", "this shard", "is missing"});
  write_shard(folder / "m-2.safetensors", {"d"});
  check_mentions(open(), {"m-2.safetensors", "tensor 'c' is not in this shard"});
  write_shard(folder / "m-2.safetensors", {"c", "a"});
  check_mentions(open(), {"m-2.safetensors", "tensor 'a' is also in m-1.safetensors"});
  write_shard(folder / "m-2.safetensors", {"c"});
  CHECK(open() == "no error");
  put(index, "{");
  check_mentions(open(), {"index.json", "not valid JSON"});
  put(index, "{}");
  check_mentions(open(), {"index.json", "no weight_map"});
  put(index, R"({"weight_map": {"a": "../m-1.safetensors"}})");
  check_mentions(open(), {"index.json", "'a'", "is not a file name"});
}

TEST_CASE("safetensors: a failed or senseless write leaves the old file") {
  const TemporaryFolder folder;
  put(folder / "m", "old");
  const std::vector<float> many(10000, 1.0f);
  CHECK(error_of([&] {
          write_safetensors(folder / "m", {{"a", {1}, many.data()}, {"a", {1}, many.data()}});
        }).find("'a' would be written twice") != std::string::npos);
  check_mentions(error_of([&] {
                   const FileSizeLimit limit(10000);
                   write_safetensors(folder / "m", {{"a", {10000}, many.data()}});
                 }),
                 {"/m", "File too large"});
  CHECK(read_file(folder / "m") == "old");
  CHECK(folder.count() == 1);
}

}  // namespace
}  // namespace wandistill::testing
