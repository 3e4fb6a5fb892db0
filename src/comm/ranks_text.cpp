#include "ranks_text.h"

#include "wandistill/error.h"

namespace wandistill {

std::string ranges_text(const std::vector<int>& numbers) {
  std::string text;
  for (size_t i = 0; i < numbers.size();) {
    size_t j = i;
    while (j + 1 < numbers.size() && numbers[j + 1] == numbers[j] + 1) ++j;
    text += cat(i == 0 ? "" : ", ", numbers[i]);
    if (j > i) text += cat("-", numbers[j]);
    i = j + 1;
  }
  return text;
}

std::string ranks_text(const std::vector<int>& ranks) {
  return (ranks.size() == 1 ? "rank " : "ranks ") + ranges_text(ranks);
}

}  // namespace wandistill
