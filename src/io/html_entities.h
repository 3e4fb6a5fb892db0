// The named character references of HTML 5.
#pragma once

#include <string>

namespace wandistill {

struct Entity {
  std::u32string text;  ///< one or two code points
  bool semicolon_optional = false;
};

/// The entity of this name (without '&' and ';'), or null.
const Entity* find_entity(const std::string& name);

}  // namespace wandistill
