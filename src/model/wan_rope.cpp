#include <cmath>

#include "wandistill/wan_transformer.h"

namespace wandistill {

RotaryTable rotary_table(int64_t rows, int64_t columns, int64_t head_dim) {
  const int64_t half = head_dim / 2, axis = head_dim / 6;  // pairs of one spatial axis
  const int64_t time = half - 2 * axis;
  RotaryTable table{Buffer<float>(rows * columns * half), Buffer<float>(rows * columns * half)};
  for (int64_t token = 0; token < rows * columns; ++token)
    for (int64_t i = 0; i < half; ++i) {
      double angle = 0;
      if (i >= time) {
        const int64_t pair = (i - time) % axis;
        const int64_t position = i - time < axis ? token / columns : token % columns;
        angle = double(position) / std::pow(10000.0, double(2 * pair) / double(2 * axis));
      }
      table.cos[token * half + i] = float(std::cos(angle));
      table.sin[token * half + i] = float(std::sin(angle));
    }
  return table;
}

}  // namespace wandistill
