// Ranks, written for people.
#pragma once

#include <string>
#include <vector>

namespace wandistill {

/// "0-2, 5" of sorted numbers.
std::string ranges_text(const std::vector<int>& numbers);

/// "rank 1", "ranks 0-2, 5" of sorted ranks.
std::string ranks_text(const std::vector<int>& ranks);

}  // namespace wandistill
