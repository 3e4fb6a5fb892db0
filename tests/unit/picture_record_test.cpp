// Records of sample pictures: there and back, damaged manifests, a round that replaces another.
#include "wandistill/picture_record.h"

#include <doctest/doctest.h>

#include "tests/unit/temporary_folder.h"

namespace wandistill {
namespace {

namespace fs = std::filesystem;
using testing::check_mentions;
using testing::error_of;
using testing::put;
using testing::TemporaryFolder;

/// Every field with a value of its own.
PictureRecord full_record() {
  return {.file = "epoch_0012_rank_3_sample_01.png",
          .prompt = "a \"red\" star\\ \n größer — 星",
          .prompt_index = 7,
          .seed = 0xfedcba9876543211,  // not a number that a double or an int64_t holds
          .epoch = "12",
          .step = 720,
          .rank = 3,
          .helpers = 2,
          .batch = 4,
          .denoise_seconds = 1.1,
          .decode_seconds = 0.1 + 0.2,
          .write_seconds = 1e-300,
          .fence_wait_seconds = 2.5,
          .error = "why"};
}

PictureRecord record(const std::string& epoch, int64_t prompt_index, const std::string& file) {
  return {.file = file, .prompt = "p", .prompt_index = prompt_index, .epoch = epoch};
}

std::vector<std::string> files(const std::vector<PictureRecord>& records) {
  std::vector<std::string> names;
  for (const PictureRecord& r : records) names.push_back(r.file);
  return names;
}

TEST_CASE("picture record: one line of JSON, back to the bit") {
  const std::string line = to_json_line(full_record());
  CHECK(line.find('\n') == std::string::npos);
  check_mentions(line, {"\"seed\":18364758544493064721"});
  CHECK(parse_json_line(line, "rank 2") == full_record());
  CHECK(parse_json_line(to_json_line({}), "rank 2") == PictureRecord{});
}

TEST_CASE("picture record: text that is not UTF-8 does not end the job") {
  PictureRecord broken;
  broken.error = "cannot write \xff\xfe.png";
  CHECK(parse_json_line(to_json_line(broken), "").error == "cannot write \ufffd\ufffd.png");
}

TEST_CASE("manifest: written and read; none where there is no file") {
  const TemporaryFolder folder;
  const fs::path path = folder / "manifest.jsonl";
  CHECK(read_manifest(path).empty());
  const std::vector<PictureRecord> records{full_record(), record("teacher", 0, "t.png")};
  write_manifest(path, records);
  CHECK(read_manifest(path) == records);
  write_manifest(path, {});
  CHECK(read_manifest(path).empty());
}

TEST_CASE("manifest: a damaged line is named with its file") {
  const TemporaryFolder folder;
  const std::string good = to_json_line(full_record());
  const auto error_with = [&](const std::string& line) {
    const fs::path path = put(folder / "manifest.jsonl", good + "\n" + line + "\n" + good + "\n");
    return error_of([&] { read_manifest(path); });
  };
  const auto changed = [&](const std::string& from, const std::string& to) {
    std::string line = good;
    return line.replace(line.find(from), from.size(), to);
  };
  check_mentions(error_with(good.substr(0, 50)), {"manifest.jsonl", "line 2", "not valid JSON"});
  check_mentions(error_with(""), {"manifest.jsonl", "line 2", "not valid JSON"});
  check_mentions(error_with("[1, 2]"), {"line 2", "expected a JSON object"});
  check_mentions(error_with(changed("\"rank\":3", "\"rnk\":3")), {"line 2", "'rank'", "missing"});
  check_mentions(error_with(changed("\"rank\":3", "\"rank\":3,\"x\":1")), {"line 2", "'x'", "unknown key"});
  check_mentions(error_with(changed("\"rank\":3", "\"rank\":-2")), {"line 2", "'rank'", "-1 or more"});
  check_mentions(error_with(changed("18364758544493064721", "-1")), {"line 2", "'seed'", "2^64"});
  check_mentions(error_with(changed("\"epoch\":\"12\"", "\"epoch\":\"12a\"")), {"line 2", "'epoch'", "12a"});
}

TEST_CASE("records: a round drawn again replaces the round; the teacher first, epochs by number") {
  const std::vector<PictureRecord> old{record("2", 0, "old 2/0"), record("2", 1, "old 2/1"),
                                       record("10", 0, "old 10/0"), record("teacher", 0, "teacher/0")};
  const std::vector<PictureRecord> fresh{record("9", 1, "9/1"), record("2", 1, "2/1"), record("9", 0, "9/0")};
  CHECK(files(merge_records(old, fresh)) ==
        std::vector<std::string>{"teacher/0", "2/1", "9/0", "9/1", "old 10/0"});
  CHECK(files(merge_records({record("", 0, "old")}, {record("", 1, "b"), record("", 0, "a")})) ==
        std::vector<std::string>{"a", "b"});
  CHECK(merge_records({}, {}).empty());
}

}  // namespace
}  // namespace wandistill
