#include "src/sample/html.h"

#include <cmath>
#include <cstdio>

#include "wandistill/error.h"

namespace wandistill::html {

std::string escape(std::string_view utf8) {
  std::string out;
  out.reserve(utf8.size());
  for (const char c : utf8) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default: {
        const auto byte = static_cast<unsigned char>(c);
        out += (byte < 0x20 && c != '\n') || byte == 0x7f ? ' ' : c;
      }
    }
  }
  return out;
}

std::string link(std::string_view file_name) {
  constexpr std::string_view kPlain = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~/";
  std::string out;
  for (const char c : file_name) {
    if (kPlain.find(c) != std::string_view::npos) {
      out += c;
    } else {
      char code[4];
      std::snprintf(code, sizeof code, "%%%02X", static_cast<unsigned char>(c));
      out += code;
    }
  }
  return out;
}

std::string seconds(double value) {
  if (value >= 100) return grouped(std::llround(value)) + " s";
  char text[32];
  if (value >= 0.1)
    std::snprintf(text, sizeof text, value < 10 ? "%.2f s" : "%.1f s", value);
  else
    std::snprintf(text, sizeof text, value < 0.01 ? "%.1f ms" : "%.0f ms", value * 1e3);
  return value > 0 ? text : "0 s";
}

std::string grouped(int64_t value) {
  std::string digits = std::to_string(value);
  const size_t sign = value < 0 ? 1 : 0;
  for (size_t at = digits.size(); at > sign + 3;) digits.insert(at -= 3, "\u00a0");
  return digits;
}

std::string counted(int64_t count, std::string_view noun) {
  return cat(grouped(count), ' ', noun, count == 1 ? "" : "s");
}

}  // namespace wandistill::html
