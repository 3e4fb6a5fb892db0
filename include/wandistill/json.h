// JSON objects whose every key must be understood.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

namespace wandistill {

using Json = nlohmann::ordered_json;

/// A JSON object, where it came from, and which of its keys were read. Errors name file and key, what was
/// expected and what was found; a wrong type is never converted (2.0 counts as an integer, 2.5 does not).
class JsonObject {
 public:
  JsonObject(std::filesystem::path file, Json object);
  /// Error with line and column where the file is not JSON, and where its top level is not an object.
  static JsonObject load(const std::filesystem::path& file);

  bool has(const std::string& key) const { return object_.contains(key); }
  /// Absent or null.
  bool is_null(const std::string& key) const;

  int64_t get_int(const std::string& key) const;
  double get_double(const std::string& key) const;
  bool get_bool(const std::string& key) const;
  std::string get_string(const std::string& key) const;
  std::vector<int64_t> get_ints(const std::string& key) const;
  std::vector<double> get_doubles(const std::string& key) const;
  std::vector<std::string> get_strings(const std::string& key) const;

  /// The same; an absent or null key gives the default.
  int64_t get_int_or(const std::string& key, int64_t otherwise) const;
  double get_double_or(const std::string& key, double otherwise) const;
  bool get_bool_or(const std::string& key, bool otherwise) const;
  std::string get_string_or(const std::string& key, const std::string& otherwise) const;
  std::vector<int64_t> get_ints_or(const std::string& key, const std::vector<int64_t>& otherwise) const;
  std::vector<double> get_doubles_or(const std::string& key, const std::vector<double>& otherwise) const;

  /// Marks a key as known without reading it; keys that others need and we do not.
  void ignore(const std::string& key) const { known_.insert(key); }
  /// Unknown keys (never read nor ignored) are an error with the nearest known key. Keys that start with "_"
  /// are remarks of the library that wrote the file and pass.
  void finish() const;
  /// Throws Error "<file>: <key>: <what>", for checks of values that the caller makes.
  [[noreturn]] void refuse(const std::string& key, const std::string& what) const;

  const std::filesystem::path& file() const { return file_; }
  const Json& json() const { return object_; }

 private:
  const Json& at(const std::string& key) const;

  std::filesystem::path file_;
  Json object_;
  mutable std::set<std::string> known_;
};

/// Writes with two spaces of indentation and a final line break, atomically.
void write_json(const std::filesystem::path& file, const Json& value);

}  // namespace wandistill
