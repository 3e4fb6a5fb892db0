// Shapes of tensors and datasets: one list of sizes, outermost first.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace wandistill {

using Shape = std::vector<int64_t>;

/// The product of the sizes; 1 for a scalar (the empty shape).
int64_t element_count(const Shape& shape);

/// "[2, 16, 1, 12, 12]", for messages.
std::string shape_text(const Shape& shape);

}  // namespace wandistill
