// Hashes of 64 bits. They name things and find damage by accident; they protect nothing.
#pragma once

#include <cstdint>
#include <cstring>
#include <string_view>

namespace wandistill {

/// FNV-1a (Fowler, Noll, Vo), for short texts.
inline uint64_t fnv1a(std::string_view bytes, uint64_t hash = 0xcbf29ce484222325u) {
  for (unsigned char byte : bytes) hash = (hash ^ byte) * 0x100000001b3u;
  return hash;
}

/// For much data: eight bytes at a time, each step one-to-one in the word and in the hash so far, so that no
/// change within one word goes unseen, and others but for one in 2^64. Goes on from `hash`.
inline uint64_t checksum64(const void* data, size_t bytes, uint64_t hash = 0) {
  const auto* at = static_cast<const unsigned char*>(data);
  const auto mix = [&hash](uint64_t word) {
    hash = (hash ^ word) * 0x9E3779B97F4A7C15u;  // odd: invertible
    hash ^= hash >> 32;                          // so that a high bit reaches the low ones
  };
  mix(bytes);
  for (; bytes > 0;) {
    const size_t taken = bytes < 8 ? bytes : 8;
    uint64_t word = 0;
    std::memcpy(&word, at, taken);
    mix(word);
    at += taken;
    bytes -= taken;
  }
  return hash;
}

}  // namespace wandistill
