#include "wandistill/prompts.h"

#include <set>
#include <sstream>

#include "wandistill/error.h"
#include "wandistill/file.h"
#include "wandistill/text_cleaning.h"

namespace wandistill {

std::vector<std::string> read_prompts(const std::filesystem::path& file) {
  std::istringstream lines(read_file(file));
  std::vector<std::string> prompts;
  std::set<std::string> seen;
  std::string line;
  for (int64_t number = 1; std::getline(lines, line); ++number) {
    check_utf8(line, cat(file.string(), ":", number));
    const size_t begin = line.find_first_not_of(" \t\r"), end = line.find_last_not_of(" \t\r");
    if (begin == std::string::npos) continue;
    std::string prompt = line.substr(begin, end - begin + 1);
    if (seen.insert(prompt).second) prompts.push_back(std::move(prompt));
  }
  if (prompts.empty()) fail(file.string(), ": no prompts in it; expected one prompt per line");
  return prompts;
}

}  // namespace wandistill
