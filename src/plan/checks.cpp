#include "src/plan/checks.h"

#include <algorithm>
#include <sstream>

#include "wandistill/error.h"

namespace wandistill {
namespace {

constexpr size_t kWidth = 100, kNameWidth = 18;

/// The text in lines of at most kWidth columns, all but the first behind `indent` blanks. A word that is
/// longer, a path, has a line of its own.
std::string wrapped(const std::string& text, size_t indent) {
  std::istringstream lines(text);
  std::string result, line;
  while (std::getline(lines, line)) {
    if (!result.empty()) result += "\n" + std::string(indent, ' ');
    std::istringstream words(line);
    size_t column = indent;
    bool first = true;
    for (std::string word; words >> word; first = false) {
      if (!first && column + 1 + word.size() > kWidth) {
        result += "\n" + std::string(indent, ' ');
        column = indent;
        first = true;
      }
      result += (first ? "" : " ") + word;
      column += word.size() + (first ? 0 : 1);
    }
  }
  return result;
}

constexpr const char* kLabels[] = {"ok", "warning", "FAILED", "–"};  // of CheckResult
constexpr const char* kWords[] = {"ok", "warning", "failed", "skipped"};

std::string packed(const std::vector<Check>& checks) {
  Json all = Json::array();
  for (const Check& c : checks) all.push_back({c.name, c.remedy, int(c.result), c.found});
  return all.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::vector<Check> unpacked(const std::string& text) {
  std::vector<Check> all;
  for (const Json& c : Json::parse(text))
    all.push_back({c[0], static_cast<CheckResult>(c[2].get<int>()), c[3], c[1]});
  return all;
}

std::string row(const Check& c) {
  constexpr size_t kLabelWidth = 9, kIndent = 2 + kLabelWidth + kNameWidth;
  const std::string label = kLabels[int(c.result)];
  const size_t width = c.result == CheckResult::kSkipped ? 1 : label.size();  // the dash is three bytes
  std::string start = "  " + label + std::string(kLabelWidth - width, ' ') + c.name;
  start += std::string(c.name.size() < kNameWidth ? kNameWidth - c.name.size() : 1, ' ');
  std::string text = start + wrapped(c.found, kIndent) + "\n";
  if (!c.remedy.empty())
    text += std::string(kIndent, ' ') + wrapped("What to do: " + c.remedy, kIndent) + "\n";
  return text;
}

}  // namespace

bool Checks::run(const std::string& name, const std::string& remedy,
                 const std::function<std::string()>& check) {
  try {
    checks_.push_back({name, CheckResult::kGood, check(), ""});
    return true;
  } catch (const std::exception& error) {
    checks_.push_back({name, CheckResult::kBad, error.what(), remedy});
    return false;
  }
}

void Checks::skip(const std::string& name, const std::string& because) {
  checks_.push_back({name, CheckResult::kSkipped, because, ""});
}

void Checks::merge(const Session& session, bool makes) {
  const std::vector<std::string> hosts = session.gather(session.host());
  const std::vector<std::string> lists = session.gather(makes ? packed(checks_) : std::string());
  std::vector<Check> merged;
  for (size_t rank = 0; rank < lists.size(); ++rank) {
    if (lists[rank].empty()) continue;
    const std::vector<Check> list = unpacked(lists[rank]);
    if (merged.empty()) merged = list;
    WD_REQUIRE(merged.size() == list.size());
    for (size_t i = 0; i < list.size(); ++i) {
      Check& check = merged[i];
      if (list[i].result == CheckResult::kGood || list[i].found == check.found) continue;
      const std::string here = cat(hosts[rank], ": ", list[i].found);
      if (check.result == CheckResult::kGood)
        check = {list[i].name, list[i].result, here, list[i].remedy};
      else
        check.found += "\n" + here;
    }
  }
  checks_ = std::move(merged);
}

int64_t Checks::count(CheckResult result) const {
  return std::ranges::count_if(checks_, [&](const Check& c) { return c.result == result; });
}

std::string Checks::text(size_t from) const {
  std::string text;
  for (size_t i = from; i < checks_.size(); ++i) text += row(checks_[i]);
  return text;
}

std::string Checks::text(CheckResult only) const {
  std::string text;
  for (const Check& c : checks_)
    if (c.result == only) text += row(c);
  return text;
}

std::string Checks::summary() const {
  const int64_t made = int64_t(checks_.size()) - count(CheckResult::kSkipped);
  const int64_t warnings = count(CheckResult::kWarning), bad = count(CheckResult::kBad);
  std::string text = cat(made, made == 1 ? " check: " : " checks: ");
  if (warnings + bad == 0) return text + "nothing is wrong";
  if (warnings > 0) text += cat(warnings, warnings == 1 ? " warning" : " warnings");
  if (bad > 0) text += cat(warnings > 0 ? ", " : "", bad, " FAILED");
  return text;
}

Json Checks::json() const {
  Json all = Json::array();
  for (const Check& c : checks_)
    all.push_back(
        {{"check", c.name}, {"result", kWords[int(c.result)]}, {"found", c.found}, {"remedy", c.remedy}});
  return all;
}

}  // namespace wandistill
