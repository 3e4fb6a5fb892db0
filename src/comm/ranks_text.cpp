#include "ranks_text.h"

#include "wandistill/error.h"

namespace wandistill {

std::string ranks_text(const std::vector<int>& ranks) {
  std::string text = ranks.size() == 1 ? "rank " : "ranks ";
  for (size_t i = 0; i < ranks.size();) {
    size_t j = i;
    while (j + 1 < ranks.size() && ranks[j + 1] == ranks[j] + 1) ++j;
    text += cat(i == 0 ? "" : ", ", ranks[i]);
    if (j > i) text += cat("-", ranks[j]);
    i = j + 1;
  }
  return text;
}

}  // namespace wandistill
