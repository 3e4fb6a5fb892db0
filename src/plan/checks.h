// A list of checks: what was found, or what is wrong and what to do.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "wandistill/session.h"

namespace wandistill {

class Checks {
 public:
  /// check(): what was found. What it throws is what is wrong. True if it threw nothing.
  bool run(const std::string& name, const std::string& remedy, const std::function<std::string()>& check);
  /// One that needs what another found missing.
  void skip(const std::string& name, const std::string& because);

  /// Made one by every host: those of all hosts, which made the same ones, with the hosts that had an error.
  /// Collective; `makes`: this rank did.
  void merge(const Session& session, bool makes);

  bool good() const;
  /// A table of at most 100 columns and a closing line.
  std::string text() const;

 private:
  enum class Result { kGood, kBad, kSkipped };
  struct Check {
    std::string name, remedy;
    Result result;
    std::string found;
  };
  std::string packed() const;
  static std::vector<Check> unpacked(const std::string& text);

  std::vector<Check> checks_;
};

}  // namespace wandistill
