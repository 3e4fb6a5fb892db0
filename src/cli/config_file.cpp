#include "src/cli/config_file.h"

#include <algorithm>

#include "src/cli/usage_error.h"

namespace wandistill::cli {
namespace {

constexpr std::string_view kBlank = " \t\r";

std::string_view trim(std::string_view text) {
  const size_t first = text.find_first_not_of(kBlank);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kBlank) - first + 1);
}

/// The text up to a '#' at its start or after white space.
std::string_view without_comment(std::string_view text) {
  for (size_t i = 0; i < text.size(); ++i)
    if (text[i] == '#' && (i == 0 || kBlank.find(text[i - 1]) != std::string_view::npos))
      return text.substr(0, i);
  return text;
}

/// The value of a line from its opening quote on; `place` is for errors.
std::string unquote(std::string_view text, const std::string& place) {
  std::string value;
  for (size_t i = 1; i < text.size(); ++i) {
    if (text[i] == '"') {
      if (!trim(without_comment(text.substr(i + 1))).empty())
        usage_error(place, "text after the closing quote");
      return value;
    }
    if (text[i] != '\\') {
      value += text[i];
      continue;
    }
    const char next = ++i < text.size() ? text[i] : ' ';
    if (next != '"' && next != '\\' && next != 'n')
      usage_error(place, "in quotes a backslash is followed by \", \\ or n; write \\\\ for a backslash");
    value += next == 'n' ? '\n' : next;
  }
  usage_error(place, "the closing quote is missing");
}

}  // namespace

std::vector<ConfigEntry> parse_config(std::string_view text, const std::string& where) {
  std::vector<ConfigEntry> entries;
  int64_t number = 0;
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    ++number;
    if (trim(without_comment(line)).empty()) continue;
    const std::string place = cat(where, ":", number, ": ");
    const size_t equals = line.find('=');
    const std::string name(trim(line.substr(0, equals)));
    if (equals == std::string_view::npos || name.empty()) usage_error(place, "expected `name = value`");
    const std::string_view rest = trim(line.substr(equals + 1));
    const bool in_quotes = rest.starts_with('"');
    entries.push_back(
        {name, in_quotes ? unquote(rest, place) : std::string(trim(without_comment(rest))), number});
  }
  return entries;
}

std::string quoted(const std::string& value) {
  const bool plain = !value.empty() && trim(value) == value && value[0] != '"' &&
                     value.find('\n') == value.npos && without_comment(value) == value;
  if (plain) return value;
  std::string text = "\"";
  for (const char c : value) {
    if (c == '"' || c == '\\') text += '\\';
    text += c == '\n' ? std::string("\\n") : std::string(1, c);
  }
  return text + '"';
}

}  // namespace wandistill::cli
