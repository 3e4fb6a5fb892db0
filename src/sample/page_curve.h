// The loss curve of the samples page.
#pragma once

#include <string>
#include <vector>

#include "wandistill/loss_curve.h"

namespace wandistill {

/// An inline SVG figure: training loss and validation error over optimizer steps, on a logarithmic axis where
/// they span a factor of 8 or more. Empty where no point has a value.
std::string curve_figure(const std::vector<LossPoint>& curve);

}  // namespace wandistill
