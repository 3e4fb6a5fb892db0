#include "src/plan/checks.h"

#include <algorithm>
#include <sstream>

#include "wandistill/error.h"
#include "wandistill/json.h"

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

}  // namespace

bool Checks::run(const std::string& name, const std::string& remedy,
                 const std::function<std::string()>& check) {
  try {
    checks_.push_back({name, "", Result::kGood, check()});
    return true;
  } catch (const std::exception& error) {
    checks_.push_back({name, remedy, Result::kBad, error.what()});
    return false;
  }
}

void Checks::skip(const std::string& name, const std::string& because) {
  checks_.push_back({name, "", Result::kSkipped, because});
}

std::string Checks::packed() const {
  Json all = Json::array();
  for (const Check& c : checks_) all.push_back({c.name, c.remedy, int(c.result), c.found});
  return all.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::vector<Checks::Check> Checks::unpacked(const std::string& text) {
  std::vector<Check> all;
  for (const Json& c : Json::parse(text))
    all.push_back({c[0], c[1], static_cast<Result>(c[2].get<int>()), c[3]});
  return all;
}

void Checks::merge(const Session& session, bool makes) {
  const std::vector<std::string> hosts = session.gather(session.host());
  const std::vector<std::string> lists = session.gather(makes ? packed() : std::string());
  std::vector<Check> merged;
  for (size_t rank = 0; rank < lists.size(); ++rank) {
    if (lists[rank].empty()) continue;
    const std::vector<Check> list = unpacked(lists[rank]);
    if (merged.empty()) merged = list;
    WD_REQUIRE(merged.size() == list.size());
    for (size_t i = 0; i < list.size(); ++i) {
      Check& check = merged[i];
      if (list[i].result == Result::kGood || list[i].found == check.found) continue;
      const std::string here = cat(hosts[rank], ": ", list[i].found);
      if (check.result == Result::kGood)
        check = {list[i].name, list[i].remedy, list[i].result, here};
      else
        check.found += "\n" + here;
    }
  }
  checks_ = std::move(merged);
}

bool Checks::good() const {
  return std::ranges::all_of(checks_, [](const Check& c) { return c.result == Result::kGood; });
}

std::string Checks::text() const {
  constexpr size_t kIndent = 2 + 6 + kNameWidth;
  std::string text = "Checks\n";
  int64_t bad = 0;
  for (const Check& c : checks_) {
    std::string start = c.result == Result::kGood  ? "  ok    "
                        : c.result == Result::kBad ? "  FAIL  "
                                                   : "  –     ";
    start += c.name;
    const size_t columns = 8 + c.name.size();
    start += std::string(columns < kIndent ? kIndent - columns : 1, ' ');
    text += start + wrapped(c.found, kIndent) + "\n";
    if (!c.remedy.empty())
      text += std::string(kIndent, ' ') + "What to do: " + wrapped(c.remedy, kIndent) + "\n";
    bad += c.result == Result::kBad;
  }
  return text + (bad == 0 ? "Nothing is wrong; nothing was written.\n"
                          : cat(bad, bad == 1 ? " check" : " checks", " failed; nothing was written.\n"));
}

}  // namespace wandistill
