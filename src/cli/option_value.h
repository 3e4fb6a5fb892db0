// One option's value: what it may be, where it goes, and how it is written, for Boost.Program_options.
#pragma once

#include <boost/program_options/value_semantic.hpp>
#include <cstdint>
#include <limits>
#include <string>
#include <variant>
#include <vector>

namespace wandistill::cli {

/// The numbers that an option takes; both ends included.
struct Limits {
  double least = -std::numeric_limits<double>::infinity();
  double most = std::numeric_limits<double>::infinity();
};
inline Limits at_least(double least) {
  return {least, std::numeric_limits<double>::infinity()};
}
inline Limits between(double least, double most) {
  return {least, most};
}

/// The field of an options struct that an option sets. What the field holds at declaration is the default.
using Target = std::variant<bool*, int64_t*, uint64_t*, double*, std::string*, std::vector<std::string>*>;

/// Reads text into its target; refuses, naming the option, what is of another type or outside its limits.
class OptionValue : public boost::program_options::value_semantic {
 public:
  /// `placeholder` stands for the value in the help ("DIR").
  OptionValue(std::string name, Target target, std::string placeholder);

  OptionValue* limits(Limits limits);
  OptionValue* choices(std::vector<std::string> choices);
  /// The default holds no value yet but means this ("as the folder's scheduler says").
  OptionValue* unset_means(std::string meaning);
  /// The number 0 is written and read as this word ("auto").
  OptionValue* zero_is(std::string word);
  /// The default as the help shows it, where the value itself is too long.
  OptionValue* help_default(std::string text);

  const std::string& option() const { return option_; }
  bool is_list() const { return std::holds_alternative<std::vector<std::string>*>(target_); }
  bool is_default() const { return texts() == default_; }
  const std::string& meaning_of_unset() const { return unset_means_; }
  /// The target as text, one entry per element of a list (otherwise exactly one).
  std::vector<std::string> texts() const;
  /// Throws UsageError where the text is no value of this option.
  void check(const std::string& text) const;

  // boost::program_options::value_semantic
  std::string name() const override;
  unsigned min_tokens() const override;
  unsigned max_tokens() const override;
  bool is_composing() const override { return false; }
  bool is_required() const override { return false; }
  void parse(boost::any& store, const std::vector<std::string>& tokens, bool utf8) const override;
  bool apply_default(boost::any&) const override { return false; }
  void notify(const boost::any& store) const override;

 private:
  std::string option_;
  Target target_;
  std::string placeholder_, unset_means_, help_default_, zero_word_;
  Limits limits_;
  std::vector<std::string> choices_;
  std::vector<std::string> default_;
};

}  // namespace wandistill::cli
