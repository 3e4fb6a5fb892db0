#include "src/plan/units.h"

#include <cmath>
#include <cstdio>

namespace wandistill {
namespace {

std::string three_digits(double value) {
  char text[32];
  std::snprintf(text, sizeof text, value >= 99.95 ? "%.0f" : value >= 9.995 ? "%.1f" : "%.2f", value);
  return text;
}

std::string scaled(double value, const char* unit) {
  const char* prefixes[] = {"", "k", "M", "G", "T", "P", "E"};
  size_t i = 0;
  for (; value >= 999.5 && i < 6; ++i) value /= 1000;
  return (i == 0 && value == double(int64_t(value)) ? std::to_string(int64_t(value)) : three_digits(value)) +
         " " + prefixes[i] + unit;
}

}  // namespace

std::string bytes_text(int64_t bytes) {
  return scaled(double(bytes), "B");
}
std::string flops_text(double flops) {
  return scaled(flops, "FLOP");
}
std::string rate_text(double rate) {
  return scaled(rate, "FLOP/s");
}

std::string seconds_text(double s) {
  if (!std::isfinite(s)) return "not known";  // the rate is not
  if (s < 0.9995) return three_digits(1000 * s) + " ms";
  if (s < 60) return three_digits(s) + " s";
  if (s < 3600) return three_digits(s / 60) + " min";
  if (s < 48 * 3600) return three_digits(s / 3600) + " h";
  return three_digits(s / 86400) + " days";
}

std::string grouped(int64_t value) {
  std::string text = std::to_string(value);
  for (size_t i = text.size(); i > 3; i -= 3) text.insert(i - 3, ",");
  return text;
}

}  // namespace wandistill
