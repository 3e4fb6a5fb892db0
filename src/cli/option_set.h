// The options of one subcommand: declared once each, read from the command line and from --config FILE.
#pragma once

#include <boost/program_options/options_description.hpp>
#include <memory>
#include <string>
#include <vector>

#include "src/cli/option_value.h"

namespace wandistill::cli {

class OptionSet {
 public:
  /// `usage`: what stands behind "wandistill" in the help; `about`: one paragraph.
  OptionSet(std::string usage, std::string about);

  /// The options declared next belong together under this heading.
  void group(const std::string& title);
  /// Declares an option of the current group; further properties are set on what is returned.
  OptionValue* add(const std::string& name, Target target, const std::string& placeholder,
                   const std::string& help);
  /// A flag: `--name`, or `name = true` in a file.
  OptionValue* add(const std::string& name, bool* target, const std::string& help) {
    return add(name, target, "", help);
  }
  /// This option's name may be left out on the command line.
  void positional(const std::string& name) { positional_ = name; }

  /// Sets the targets from the arguments behind the subcommand, and from the file that --config names where
  /// the arguments say nothing. Throws UsageError. False where --help was given: then nothing is set.
  bool parse(const std::vector<std::string>& arguments);

  /// The help page, at most 100 columns wide.
  std::string help() const;
  /// The options' present values as text that --config reads back to the same values.
  std::string effective_config() const;
  /// The same for people: aligned, those that are not the default marked.
  std::string listing() const;

 private:
  std::vector<const OptionValue*> values() const;
  std::vector<std::string> names() const;
  const OptionValue* find(const std::string& name) const;

  std::string usage_, about_, positional_;
  std::vector<std::unique_ptr<boost::program_options::options_description>> groups_;
};

}  // namespace wandistill::cli
