// A list of checks: what was found, or what is wrong and what to do.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "wandistill/json.h"
#include "wandistill/session.h"

namespace wandistill {

/// kWarning: a run would do, but not as well as it might. kSkipped: not made.
enum class CheckResult { kGood, kWarning, kBad, kSkipped };

struct Check {
  std::string name;
  CheckResult result = CheckResult::kGood;
  std::string found;   // lines
  std::string remedy;  // what to do, where something is wrong
};

class Checks {
 public:
  /// check(): what was found. What it throws is what is wrong. True if it threw nothing.
  bool run(const std::string& name, const std::string& remedy, const std::function<std::string()>& check);
  /// One that needs what another found missing, or what was not asked for.
  void skip(const std::string& name, const std::string& because);
  void add(Check check) { checks_.push_back(std::move(check)); }

  /// Made one by every host: those of all hosts, which made the same ones, with the hosts that had an error.
  /// Collective; `makes`: this rank did.
  void merge(const Session& session, bool makes);

  int64_t count(CheckResult result) const;
  /// None failed.
  bool good() const { return count(CheckResult::kBad) == 0; }
  size_t size() const { return checks_.size(); }
  /// A table of at most 100 columns: all of them, those from one on, or those with one result.
  std::string text(size_t from = 0) const;
  std::string text(CheckResult only) const;
  /// "9 checks: 1 warning, 1 FAILED".
  std::string summary() const;
  /// A list of {"check", "result", "found", "remedy"}.
  Json json() const;

 private:
  std::vector<Check> checks_;
};

}  // namespace wandistill
