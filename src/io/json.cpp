#include "wandistill/json.h"

#include <algorithm>
#include <cmath>

#include "wandistill/error.h"
#include "wandistill/file.h"
#include "wandistill/suggest.h"

namespace wandistill {
namespace {

/// A value for a message, cut where it is long.
std::string shown(const Json& value) {
  std::string text = value.dump(-1, ' ', false, Json::error_handler_t::replace);
  if (text.size() > 60) text = text.substr(0, 57) + "...";
  return text;
}

bool is_whole(const Json& value) {
  if (value.is_number_unsigned()) return value.get<uint64_t>() <= INT64_MAX;
  if (value.is_number_float())
    return std::abs(value.get<double>()) < 0x1p53 && std::trunc(value.get<double>()) == value;
  return value.is_number_integer();
}

/// The text, line and column of byte `at` (counted from 1).
std::string line_and_column(const std::string& text, size_t at) {
  const auto end = text.begin() + static_cast<int64_t>(std::min(at > 0 ? at - 1 : 0, text.size()));
  const auto line = 1 + std::count(text.begin(), end, '\n');
  const auto start = std::find(std::make_reverse_iterator(end), text.rend(), '\n').base();
  return cat("line ", line, ", column ", 1 + (end - start));
}

}  // namespace

JsonObject::JsonObject(std::filesystem::path file, Json object)
    : file_(std::move(file)), object_(std::move(object)) {
  if (!object_.is_object()) fail(file_.string(), ": expected a JSON object {...}, found ", shown(object_));
}

JsonObject JsonObject::load(const std::filesystem::path& file) {
  const std::string text = read_file(file);
  try {
    return {file, Json::parse(text)};
  } catch (const Json::parse_error& error) {
    // "[json.exception.parse_error.101] parse error at line 1, column 2: <what we want>"
    std::string what = error.what();
    if (const size_t colon = what.find(": "); colon != std::string::npos) what = what.substr(colon + 2);
    fail(file.string(), ": ", line_and_column(text, error.byte), ": not valid JSON: ", what);
  }
}

void JsonObject::refuse(const std::string& key, const std::string& what) const {
  fail(file_.string(), ": '", key, "': ", what);
}

const Json& JsonObject::at(const std::string& key) const {
  known_.insert(key);
  const auto found = object_.find(key);
  if (found != object_.end()) return *found;
  // A misspelt key is the likely reason: one that nobody has asked for yet and that looks like this one.
  std::vector<std::string> unread;
  for (const auto& [name, value] : object_.items())
    if (!known_.contains(name)) unread.push_back(name);
  const std::string similar = nearest(key, unread);
  refuse(key,
         "this key is missing" + (similar.empty() ? "" : " (is '" + similar + "' a misspelling of it?)"));
}

bool JsonObject::is_null(const std::string& key) const {
  known_.insert(key);
  const auto found = object_.find(key);
  return found == object_.end() || found->is_null();
}

int64_t JsonObject::get_int(const std::string& key) const {
  const Json& value = at(key);
  if (!is_whole(value)) refuse(key, "expected a whole number, found " + shown(value));
  return value.get<int64_t>();
}

double JsonObject::get_double(const std::string& key) const {
  const Json& value = at(key);
  if (!value.is_number()) refuse(key, "expected a number, found " + shown(value));
  return value.get<double>();
}

bool JsonObject::get_bool(const std::string& key) const {
  const Json& value = at(key);
  if (!value.is_boolean()) refuse(key, "expected true or false, found " + shown(value));
  return value.get<bool>();
}

std::string JsonObject::get_string(const std::string& key) const {
  const Json& value = at(key);
  if (!value.is_string()) refuse(key, "expected a text in quotes, found " + shown(value));
  return value.get<std::string>();
}

std::vector<int64_t> JsonObject::get_ints(const std::string& key) const {
  const Json& value = at(key);
  if (!value.is_array() || !std::all_of(value.begin(), value.end(), is_whole))
    refuse(key, "expected a list of whole numbers, found " + shown(value));
  return value.get<std::vector<int64_t>>();
}

std::vector<double> JsonObject::get_doubles(const std::string& key) const {
  const Json& value = at(key);
  if (!value.is_array() ||
      !std::all_of(value.begin(), value.end(), [](const Json& x) { return x.is_number(); }))
    refuse(key, "expected a list of numbers, found " + shown(value));
  return value.get<std::vector<double>>();
}

std::vector<std::string> JsonObject::get_strings(const std::string& key) const {
  const Json& value = at(key);
  if (!value.is_array() ||
      !std::all_of(value.begin(), value.end(), [](const Json& x) { return x.is_string(); }))
    refuse(key, "expected a list of texts in quotes, found " + shown(value));
  return value.get<std::vector<std::string>>();
}

int64_t JsonObject::get_int_or(const std::string& key, int64_t otherwise) const {
  return is_null(key) ? otherwise : get_int(key);
}
double JsonObject::get_double_or(const std::string& key, double otherwise) const {
  return is_null(key) ? otherwise : get_double(key);
}
bool JsonObject::get_bool_or(const std::string& key, bool otherwise) const {
  return is_null(key) ? otherwise : get_bool(key);
}
std::string JsonObject::get_string_or(const std::string& key, const std::string& otherwise) const {
  return is_null(key) ? otherwise : get_string(key);
}
std::vector<int64_t> JsonObject::get_ints_or(const std::string& key,
                                             const std::vector<int64_t>& otherwise) const {
  return is_null(key) ? otherwise : get_ints(key);
}
std::vector<double> JsonObject::get_doubles_or(const std::string& key,
                                               const std::vector<double>& otherwise) const {
  return is_null(key) ? otherwise : get_doubles(key);
}

void JsonObject::finish() const {
  for (const auto& [key, value] : object_.items())
    if (!key.starts_with('_') && !known_.contains(key))
      refuse(key, "unknown key" + did_you_mean(key, {known_.begin(), known_.end()}));
}

void write_json(const std::filesystem::path& file, const Json& value) {
  write_file_atomically(file, value.dump(2) + "\n");
}

}  // namespace wandistill
