// FNV-1a, 64 bit (Fowler, Noll, Vo): names things, protects nothing.
#pragma once

#include <cstdint>
#include <string_view>

namespace wandistill {

inline uint64_t fnv1a(std::string_view bytes, uint64_t hash = 0xcbf29ce484222325u) {
  for (unsigned char byte : bytes) hash = (hash ^ byte) * 0x100000001b3u;
  return hash;
}

}  // namespace wandistill
