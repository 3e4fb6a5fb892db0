#include "src/sample/page_curve.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "src/sample/html.h"
#include "wandistill/error.h"

namespace wandistill {
namespace {

// In units of the drawing, at full size pixels.
constexpr double kWidth = 720, kHeight = 270;
constexpr double kLeft = 48, kRight = kWidth - 24, kTop = 34, kBottom = kHeight - 42;
constexpr double kLogFrom = 8;     // greatest value / least value
constexpr int64_t kMostDots = 60;  // validation points that get a dot each
constexpr double kTicks = 6;       // wanted on an axis, about

using Value = std::optional<double> LossPoint::*;

std::string fixed(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f", value);
  return text;
}

std::string shortest(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.4g", value);
  return text;
}

/// Values to positions along one side of the drawing, and where its labels are.
struct Axis {
  double low, high;   // values at the ends
  double start, end;  // positions of the ends
  bool logarithmic;
  std::vector<double> ticks;

  double operator()(double value) const {
    const double part =
        logarithmic ? std::log(value / low) / std::log(high / low) : (value - low) / (high - low);
    return start + part * (end - start);
  }
};

/// 1, 2 or 5 times a power of ten, so that a range has about kTicks of them.
double tick_distance(double range) {
  const double rough = range / kTicks, power = std::pow(10, std::floor(std::log10(rough)));
  for (const double factor : {1, 2, 5})
    if (rough <= factor * power) return factor * power;
  return 10 * power;
}

/// From a multiple of the tick distance to another.
Axis linear_axis(double low, double high, double start, double end, double least_distance) {
  if (high <= low) high = low + std::max(std::abs(low), 1.0);
  const double distance = std::max(least_distance, tick_distance(high - low));
  const double first = std::floor(low / distance + 1e-9), last = std::ceil(high / distance - 1e-9);
  Axis axis{first * distance, last * distance, start, end, false, {}};
  for (double i = first; i <= last; ++i) axis.ticks.push_back(i * distance);
  return axis;
}

/// low > 0. Labels at 1, 2 and 5 times powers of ten, at the powers alone where there are many.
Axis log_axis(double low, double high, double start, double end) {
  Axis axis{low / 1.1, high * 1.1, start, end, true, {}};
  const bool fine = std::log10(high / low) <= 2.5;
  const double last = std::ceil(std::log10(axis.high));
  for (double exponent = std::floor(std::log10(axis.low)); exponent <= last; ++exponent)
    for (const double factor : {1, 2, 5})
      if (const double tick = factor * std::pow(10, exponent);
          (fine || factor == 1) && tick >= axis.low && tick <= axis.high)
        axis.ticks.push_back(tick);
  return axis;
}

/// For both lines: one axis, so that they can be compared.
Axis value_axis(const std::vector<LossPoint>& curve) {
  double low = INFINITY, high = -INFINITY;
  for (const LossPoint& point : curve)
    for (const Value value : {&LossPoint::loss, &LossPoint::validation_error})
      if (point.*value) {
        low = std::min(low, *(point.*value));
        high = std::max(high, *(point.*value));
      }
  const bool logarithmic = low > 0 && high >= kLogFrom * low;
  return logarithmic ? log_axis(low, high, kBottom, kTop) : linear_axis(low, high, kBottom, kTop, 0);
}

std::string text_at(double x, double y, std::string_view css_class, const std::string& text) {
  return cat("<text x='", fixed(x), "' y='", fixed(y), "' class='", css_class, "'>", html::escape(text),
             "</text>\n");
}

std::string horizontal_lines(const Axis& y) {
  std::string svg;
  for (const double tick : y.ticks) {
    const std::string at = fixed(y(tick));
    svg += cat("<path class=rule d='M", fixed(kLeft), ' ', at, 'H', fixed(kRight), "'/>");
    svg += text_at(kLeft - 8, y(tick) + 4, "end", shortest(tick));
  }
  return svg;
}

std::string steps_axis(const Axis& x, int64_t last_step) {
  std::string svg = cat("<path class=axis d='M", fixed(kLeft), ' ', fixed(kBottom), 'H', fixed(kRight));
  for (const double tick : x.ticks)
    if (tick <= x.high) svg += cat('M', fixed(x(tick)), ' ', fixed(kBottom), "v4");
  svg += "'/>";
  for (const double tick : x.ticks)
    if (tick <= x.high) svg += text_at(x(tick), kBottom + 18, "middle", html::grouped(std::llround(tick)));
  svg += text_at((kLeft + kRight) / 2, kHeight - 6, "middle",
                 cat("optimizer step (", html::grouped(last_step), " done)"));
  return svg;
}

/// One line, with a gap where training loss is missing; validation errors are joined across steps without.
std::string line(const std::vector<LossPoint>& curve, Value value, std::string_view name, const Axis& x,
                 const Axis& y) {
  const bool gaps = value == &LossPoint::loss;
  std::string path;
  bool pen_down = false;
  for (const LossPoint& point : curve) {
    if (point.*value) {
      path += cat(pen_down ? 'L' : 'M', fixed(x(static_cast<double>(point.step))), ' ',
                  fixed(y(*(point.*value))));
      pen_down = true;
    } else if (gaps) {
      pen_down = false;
    }
  }
  return cat("<path class=", name, " d='", path, "'/>\n");
}

std::string validation_dots(const std::vector<LossPoint>& curve, const Axis& x, const Axis& y) {
  const auto has_error = [](const LossPoint& p) { return p.validation_error.has_value(); };
  if (std::ranges::count_if(curve, has_error) > kMostDots) return "";
  std::string svg;
  for (const LossPoint& p : curve)
    if (has_error(p))
      svg += cat("<circle class=validation cx='", fixed(x(static_cast<double>(p.step))), "' cy='",
                 fixed(y(*p.validation_error)), "' r='2.6'><title>epoch ", p.epoch, ", step ",
                 html::grouped(p.step), ": validation error ", shortest(*p.validation_error),
                 "</title></circle>\n");
  return svg;
}

/// Name and last value of each line that is there.
std::string legend(const std::vector<LossPoint>& curve, bool logarithmic) {
  std::string svg;
  double x = kLeft;
  const auto entry = [&](Value value, std::string_view css_class, const std::string& name) {
    const auto last = std::find_if(curve.rbegin(), curve.rend(),
                                   [&](const LossPoint& p) { return (p.*value).has_value(); });
    if (last == curve.rend()) return;
    svg += cat("<path class=", css_class, " d='M", fixed(x), " 12h18'/>");
    svg += text_at(x + 24, 16, "start", cat(name, ", last ", shortest(*((*last).*value))));
    x += 210;
  };
  entry(&LossPoint::loss, "loss", "training loss");
  entry(&LossPoint::validation_error, "validation", "validation error");
  if (logarithmic) svg += text_at(kRight, 16, "end", "logarithmic scale");
  return svg;
}

}  // namespace

std::string curve_figure(const std::vector<LossPoint>& curve) {
  const bool empty =
      std::ranges::none_of(curve, [](const LossPoint& p) { return p.loss || p.validation_error; });
  if (empty) return "";
  const Axis y = value_axis(curve);
  const int64_t last_step = curve.back().step;
  Axis x = linear_axis(0, static_cast<double>(last_step), kLeft, kRight, /*least_distance=*/1);
  x.high = std::max<double>(1, static_cast<double>(last_step));  // the line ends at the edge
  return cat("<figure class=curve><svg viewBox='0 0 ", kWidth, ' ', kHeight,
             "' role=img aria-label='training loss and validation error over optimizer steps'>\n",
             horizontal_lines(y), steps_axis(x, last_step), line(curve, &LossPoint::loss, "loss", x, y),
             line(curve, &LossPoint::validation_error, "validation", x, y), validation_dots(curve, x, y),
             legend(curve, y.logarithmic), "</svg></figure>\n");
}

}  // namespace wandistill
