// Quantities as people read them.
#pragma once

#include <cstdint>
#include <string>

namespace wandistill {

/// Three digits and a unit: "57.2 GB", "912 MB" (powers of 1000), "1.20 PFLOP".
std::string bytes_text(int64_t bytes);
std::string flops_text(double flops);
std::string rate_text(double flops_per_second);
/// "130 ms", "12.0 s", "5.20 min", "3.40 h", "12.0 days".
std::string seconds_text(double seconds);
/// 1234567 as "1,234,567".
std::string grouped(int64_t value);

}  // namespace wandistill
