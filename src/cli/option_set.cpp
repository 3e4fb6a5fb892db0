#include "src/cli/option_set.h"

#include <algorithm>
#include <boost/program_options/cmdline.hpp>
#include <boost/program_options/errors.hpp>
#include <boost/program_options/parsers.hpp>
#include <boost/program_options/positional_options.hpp>
#include <boost/program_options/variables_map.hpp>
#include <sstream>

#include "src/cli/config_file.h"
#include "src/cli/usage_error.h"
#include "wandistill/file.h"
#include "wandistill/suggest.h"

namespace wandistill::cli {
namespace {

namespace po = boost::program_options;

constexpr unsigned kHelpWidth = 100, kHelpTextWidth = 56;

/// What every subcommand takes on the command line and no file can hold.
po::options_description general_options() {
  po::options_description general("General", kHelpWidth, kHelpTextWidth);
  general.add_options()(
      "config", po::value<std::string>()->value_name("FILE"),
      "read further options from this file: lines `name = value`, lists by repeating a line, "
      "# begins a comment; the command line wins");
  general.add_options()("help", "show this page");
  return general;
}

}  // namespace

OptionSet::OptionSet(std::string usage, std::string about)
    : usage_(std::move(usage)), about_(std::move(about)) {}

void OptionSet::group(const std::string& title) {
  groups_.push_back(std::make_unique<po::options_description>(title, kHelpWidth, kHelpTextWidth));
}

OptionValue* OptionSet::add(const std::string& name, Target target, const std::string& placeholder,
                            const std::string& help) {
  auto* value = new OptionValue(name, target, placeholder);  // owned by the description from the next line on
  groups_.back()->add_options()(name.c_str(), value, help.c_str());
  return value;
}

bool OptionSet::parse(const std::vector<std::string>& arguments) {
  po::options_description all = general_options();
  for (const auto& group : groups_) all.add(*group);
  po::positional_options_description positions;
  if (!positional_.empty()) positions.add(positional_.c_str(), 1);
  // Names in full and values beside or behind them: an abbreviation would change its meaning with a new
  // option.
  const int style = po::command_line_style::allow_long | po::command_line_style::long_allow_adjacent |
                    po::command_line_style::long_allow_next;
  po::variables_map given;
  try {
    po::command_line_parser parser(arguments);
    parser.options(all).style(style);
    if (!positional_.empty()) parser.positional(positions);
    const po::parsed_options line = parser.run();
    for (const po::option& option : line.options)
      if (option.string_key.empty())
        usage_error("unexpected '", option.value.front(),
                    "'; option names begin with --, and text with spaces needs quotes");
    try {
      po::store(line, given);
    } catch (const UsageError& error) {
      usage_error("--", error.what());
    }
  } catch (const po::unknown_option& error) {
    const std::string name = error.get_option_name().substr(2);
    usage_error("unknown option --", name, did_you_mean(name, names()));
  } catch (const po::too_many_positional_options_error&) {
    usage_error("more than one ", positional_, " is given");
  } catch (const po::error& error) {
    usage_error(error.what());
  }
  if (given.count("help")) return false;

  if (given.count("config")) {
    const std::string file = given["config"].as<std::string>();
    po::parsed_options parsed(&all);
    for (const ConfigEntry& entry : parse_config(read_file(file), file)) {
      const std::string place = cat(file, ":", entry.line, ": ");
      const OptionValue* value = find(entry.name);
      if (value == nullptr)
        usage_error(place, "unknown option '", entry.name, "'", did_you_mean(entry.name, names()));
      try {
        value->check(entry.value);
      } catch (const UsageError& error) {
        usage_error(place, error.what());
      }
      const auto same = [&](const po::option& option) { return option.string_key == entry.name; };
      if (!value->is_list() && std::any_of(parsed.options.begin(), parsed.options.end(), same))
        usage_error(place, entry.name, " is given more than once");
      parsed.options.emplace_back(entry.name, std::vector<std::string>{entry.value});
    }
    po::store(parsed, given);
  }
  po::notify(given);
  return true;
}

std::string OptionSet::help() const {
  std::ostringstream page;
  po::options_description all(kHelpWidth, kHelpTextWidth);  // one, so that all groups have the same columns
  for (const auto& group : groups_) all.add(*group);
  all.add(general_options());
  page << "Usage: wandistill " << usage_ << "\n\n" << about_ << "\n" << all;
  return page.str();
}

std::string OptionSet::effective_config() const {
  std::string text;
  for (const OptionValue* value : values()) {
    if (value->is_default() && !value->meaning_of_unset().empty()) {
      text += "# " + value->option() + ": " + value->meaning_of_unset() + "\n";
      continue;
    }
    for (const std::string& element : value->texts())
      text += value->option() + " = " + quoted(element) + "\n";
  }
  return text;
}

std::string OptionSet::listing() const {
  size_t width = 0;
  for (const OptionValue* value : values()) width = std::max(width, value->option().size());
  std::string text;
  for (const OptionValue* value : values()) {
    std::vector<std::string> lines = value->texts();
    if (value->is_default() && !value->meaning_of_unset().empty())
      lines = {"(" + value->meaning_of_unset() + ")"};
    if (lines.empty()) lines = {"(none)"};
    for (size_t i = 0; i < lines.size(); ++i) {
      std::string name = i == 0 ? value->option() : "";
      name.resize(width + 2, ' ');
      text += (i == 0 && !value->is_default() ? "* " : "  ") + name + (lines[i].empty() ? "\"\"" : lines[i]) +
              "\n";
    }
  }
  return text;
}

std::vector<const OptionValue*> OptionSet::values() const {
  std::vector<const OptionValue*> all;
  for (const auto& group : groups_)
    for (const auto& option : group->options())
      all.push_back(dynamic_cast<const OptionValue*>(option->semantic().get()));
  return all;
}

std::vector<std::string> OptionSet::names() const {
  std::vector<std::string> all;
  for (const OptionValue* value : values()) all.push_back(value->option());
  return all;
}

const OptionValue* OptionSet::find(const std::string& name) const {
  for (const OptionValue* value : values())
    if (value->option() == name) return value;
  return nullptr;
}

}  // namespace wandistill::cli
