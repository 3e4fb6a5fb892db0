// "Did you mean": the nearest known word to a misspelt one.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace wandistill {

/// The candidate with the smallest edit distance to `word` (the first of equals), or the empty string where
/// none is near enough to be meant (more than half of the longer word differs).
std::string nearest(std::string_view word, const std::vector<std::string>& candidates);

/// " (did you mean 'x'?)", or nothing where there is no near candidate: to be appended to an error.
std::string did_you_mean(std::string_view word, const std::vector<std::string>& candidates);

}  // namespace wandistill
