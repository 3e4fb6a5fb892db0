#include "wandistill/picture_record.h"

#include <algorithm>
#include <limits>
#include <set>

#include "wandistill/error.h"
#include "wandistill/file.h"
#include "wandistill/json.h"

namespace wandistill {
namespace {

bool is_number(const std::string& text) {
  // 18 digits always fit 64 bits.
  return !text.empty() && text.size() <= 18 &&
         std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; });
}

/// Outside of training -2, the teacher -1, an epoch its number.
int64_t order_of(const std::string& epoch) {
  if (epoch.empty()) return -2;
  return is_number(epoch) ? std::stoll(epoch) : -1;
}

int64_t count(const JsonObject& object, const std::string& key, int64_t least) {
  const int64_t value = object.get_int(key);
  if (value < least) object.refuse(key, cat("expected ", least, " or more, found ", value));
  return value;
}

/// Seeds use all 64 bits, JsonObject::get_int has 63.
uint64_t seed_of(const JsonObject& object) {
  object.ignore("seed");
  if (!object.has("seed") || !object.json()["seed"].is_number_unsigned())
    object.refuse("seed", "expected a whole number below 2^64");
  return object.json()["seed"].get<uint64_t>();
}

}  // namespace

bool epoch_before(const std::string& a, const std::string& b) {
  return order_of(a) < order_of(b);
}

std::string to_json_line(const PictureRecord& r) {
  return Json{{"file", r.file},
              {"prompt", r.prompt},
              {"prompt_index", r.prompt_index},
              {"seed", r.seed},
              {"epoch", r.epoch},
              {"step", r.step},
              {"rank", r.rank},
              {"helpers", r.helpers},
              {"batch", r.batch},
              {"denoise_seconds", r.denoise_seconds},
              {"decode_seconds", r.decode_seconds},
              {"write_seconds", r.write_seconds},
              {"fence_wait_seconds", r.fence_wait_seconds},
              {"error", r.error}}
      .dump(-1, ' ', false, Json::error_handler_t::replace);
}

PictureRecord parse_json_line(std::string_view line, const std::string& place) {
  Json json = Json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded()) fail(place, ": not valid JSON: expected the record of a picture {\"file\": ...}");
  const JsonObject object(place, std::move(json));
  PictureRecord r;
  r.file = object.get_string("file");
  r.prompt = object.get_string("prompt");
  r.prompt_index = count(object, "prompt_index", 0);
  r.seed = seed_of(object);
  r.epoch = object.get_string("epoch");
  if (!r.epoch.empty() && !r.by_teacher() && !is_number(r.epoch))
    object.refuse("epoch", "expected a number, \"teacher\" or \"\", found \"" + r.epoch + "\"");
  r.step = count(object, "step", 0);
  const int64_t rank = count(object, "rank", -1);
  if (rank > std::numeric_limits<int>::max()) object.refuse("rank", cat("no rank has the number ", rank));
  r.rank = static_cast<int>(rank);
  r.helpers = count(object, "helpers", 0);
  r.batch = count(object, "batch", 1);
  r.denoise_seconds = object.get_double("denoise_seconds");
  r.decode_seconds = object.get_double("decode_seconds");
  r.write_seconds = object.get_double("write_seconds");
  r.fence_wait_seconds = object.get_double("fence_wait_seconds");
  r.error = object.get_string("error");
  object.finish();
  return r;
}

std::vector<PictureRecord> read_manifest(const std::filesystem::path& path) {
  std::vector<PictureRecord> records;
  if (std::error_code unknown; !std::filesystem::exists(path, unknown) && !unknown) return records;
  const std::string text = read_file(path);
  int64_t number = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    records.push_back(parse_json_line(std::string_view(text).substr(at, end - at),
                                      cat(path.string(), ": line ", ++number)));
    at = end + 1;
  }
  return records;
}

void write_manifest(const std::filesystem::path& path, const std::vector<PictureRecord>& records) {
  std::string text;
  for (const PictureRecord& record : records) text += to_json_line(record) + "\n";
  write_file_atomically(path, text);
}

std::vector<PictureRecord> merge_records(const std::vector<PictureRecord>& old,
                                         const std::vector<PictureRecord>& fresh) {
  std::set<std::string> replaced;
  for (const PictureRecord& record : fresh) replaced.insert(record.epoch);
  std::vector<PictureRecord> merged;
  for (const PictureRecord& record : old)
    if (!replaced.contains(record.epoch)) merged.push_back(record);
  merged.insert(merged.end(), fresh.begin(), fresh.end());
  std::ranges::stable_sort(merged, [](const PictureRecord& a, const PictureRecord& b) {
    if (a.epoch != b.epoch) return epoch_before(a.epoch, b.epoch);
    return a.prompt_index < b.prompt_index;
  });
  return merged;
}

}  // namespace wandistill
