// Configuration files: lines `name = value`, the names those of the options.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace wandistill::cli {

struct ConfigEntry {
  std::string name, value;
  int64_t line;  // counted from 1
};

/// The entries of such a text, in order. Empty lines are skipped, and what follows a '#' at the start of a
/// line or after white space. A value may stand in double quotes, in which \" \\ and \n mean a quote, a
/// backslash and a line break; lists repeat their line. UsageError "<where>:<line>: ..." for anything else.
std::vector<ConfigEntry> parse_config(std::string_view text, const std::string& where);

/// The value as parse_config reads it back: in quotes where it has to be.
std::string quoted(const std::string& value);

}  // namespace wandistill::cli
