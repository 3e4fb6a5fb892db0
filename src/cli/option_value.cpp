#include "src/cli/option_value.h"

#include <algorithm>
#include <boost/any.hpp>
#include <charconv>
#include <cmath>
#include <type_traits>

#include "src/cli/usage_error.h"
#include "wandistill/suggest.h"

namespace wandistill::cli {
namespace {

/// The shortest text that reads back as the same number.
template <class T>
std::string number_text(T value) {
  char text[64];
  return {text, std::to_chars(text, text + sizeof(text), value).ptr};
}

std::string joined(const std::vector<std::string>& words, const char* between) {
  std::string all;
  for (const std::string& word : words) all += (all.empty() ? "" : between) + word;
  return all;
}

std::string limits_text(Limits limits) {
  if (std::isfinite(limits.least) && std::isfinite(limits.most))
    return cat("from ", number_text(limits.least), " to ", number_text(limits.most));
  if (std::isfinite(limits.least)) return cat("of at least ", number_text(limits.least));
  if (std::isfinite(limits.most)) return cat("of at most ", number_text(limits.most));
  return "that is finite";
}

template <class T>
constexpr const char* kind() {
  if (std::is_same_v<T, uint64_t>) return "a whole number from 0 to 2^64 - 1";
  return std::is_integral_v<T> ? "a whole number" : "a number";
}

template <class T>
T read_number(const std::string& option, const std::string& text, Limits limits) {
  T value{};
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc() || stop != end || text.empty())
    usage_error(option, ": '", text, "' is not ", kind<T>());
  const double number = static_cast<double>(value);
  if (!std::isfinite(number) || number < limits.least || number > limits.most)
    usage_error(option, ": ", text, " is out of range; it takes ",
                std::is_integral_v<T> ? "a whole number " : "a number ", limits_text(limits));
  return value;
}

bool read_bool(const std::string& option, const std::string& text) {
  for (const char* yes : {"true", "yes", "on", "1"})
    if (text == yes) return true;
  for (const char* no : {"false", "no", "off", "0"})
    if (text == no) return false;
  usage_error(option, ": '", text, "' is neither true nor false");
}

}  // namespace

OptionValue::OptionValue(std::string name, Target target, std::string placeholder)
    : option_(std::move(name)), target_(target), placeholder_(std::move(placeholder)), default_(texts()) {}

OptionValue* OptionValue::limits(Limits limits) {
  limits_ = limits;
  return this;
}

OptionValue* OptionValue::choices(std::vector<std::string> choices) {
  choices_ = std::move(choices);
  placeholder_ = joined(choices_, "|");
  return this;
}

OptionValue* OptionValue::unset_means(std::string meaning) {
  unset_means_ = std::move(meaning);
  return this;
}

OptionValue* OptionValue::zero_is(std::string word) {
  zero_word_ = std::move(word);
  default_ = texts();
  return this;
}

OptionValue* OptionValue::help_default(std::string text) {
  help_default_ = std::move(text);
  return this;
}

std::vector<std::string> OptionValue::texts() const {
  return std::visit(
      [this](const auto* target) -> std::vector<std::string> {
        using T = std::remove_cvref_t<decltype(*target)>;
        if constexpr (std::is_same_v<T, std::vector<std::string>>)
          return *target;
        else if constexpr (std::is_same_v<T, std::string>)
          return {*target};
        else if constexpr (std::is_same_v<T, bool>)
          return {*target ? "true" : "false"};
        else
          return {*target == 0 && !zero_word_.empty() ? zero_word_ : number_text(*target)};
      },
      target_);
}

void OptionValue::check(const std::string& text) const {
  if (!zero_word_.empty() && text == zero_word_) return;
  std::visit(
      [&](auto* target) {
        using T = std::remove_cvref_t<decltype(*target)>;
        if constexpr (std::is_same_v<T, bool>)
          read_bool(option_, text);
        else if constexpr (std::is_arithmetic_v<T>)
          read_number<T>(option_, text, limits_);
      },
      target_);
  if (!choices_.empty() && std::find(choices_.begin(), choices_.end(), text) == choices_.end())
    usage_error(option_, ": '", text, "' is none of ", joined(choices_, ", "), did_you_mean(text, choices_));
}

std::string OptionValue::name() const {
  if (std::holds_alternative<bool*>(target_)) return default_.front() == "true" ? "[true|false] (=true)" : "";
  std::string value = placeholder_;
  if (is_list()) value += " ...";
  if (!unset_means_.empty()) return value;
  const std::string shown = help_default_.empty() ? joined(default_, " ") : help_default_;
  return shown.empty() ? value : value + " (=" + shown + ")";
}

unsigned OptionValue::min_tokens() const {
  return std::holds_alternative<bool*>(target_) ? 0 : 1;
}

unsigned OptionValue::max_tokens() const {
  return is_list() ? std::numeric_limits<unsigned>::max() / 2 : 1;
}

void OptionValue::parse(boost::any& store, const std::vector<std::string>& tokens, bool) const {
  std::vector<std::string> values;
  if (!store.empty()) values = boost::any_cast<const std::vector<std::string>&>(store);
  if (!values.empty() && !is_list()) usage_error(option_, " is given more than once");
  values.insert(values.end(), tokens.begin(), tokens.end());
  if (tokens.empty()) values.push_back("true");  // a flag
  for (const std::string& value : values) check(value);
  store = values;
}

void OptionValue::notify(const boost::any& store) const {
  const auto& values = boost::any_cast<const std::vector<std::string>&>(store);
  std::visit(
      [&](auto* target) {
        using T = std::remove_cvref_t<decltype(*target)>;
        if constexpr (std::is_same_v<T, std::vector<std::string>>)
          *target = values;
        else if constexpr (std::is_same_v<T, std::string>)
          *target = values.front();
        else if constexpr (std::is_same_v<T, bool>)
          *target = read_bool(option_, values.front());
        else if (!zero_word_.empty() && values.front() == zero_word_)
          *target = 0;
        else
          *target = read_number<T>(option_, values.front(), limits_);
      },
      target_);
}

}  // namespace wandistill::cli
