// Text into HTML.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace wandistill::html {

/// For element content and for attributes in either kind of quotes. Control characters but the line break
/// become spaces.
std::string escape(std::string_view utf8);

/// A file name as relative link: every byte but letters, digits and -_.~/ as %XX.
std::string link(std::string_view file_name);

/// "12 345 s", "12.3 s", "0.45 s", "12 ms".
std::string seconds(double value);

/// "12 345", with no-break spaces.
std::string grouped(int64_t value);

/// "1 picture", "2 pictures".
std::string counted(int64_t count, std::string_view noun);

}  // namespace wandistill::html
