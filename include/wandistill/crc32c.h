// The checksum of checkpoints and event files.
#pragma once

#include <cstddef>
#include <cstdint>

namespace wandistill {

/// CRC-32C (Castagnoli's polynomial, as in iSCSI: RFC 3720, 12.1 and appendix B.4) of the bytes; `before` is
/// the CRC of what comes in front of them.
uint32_t crc32c(const void* data, size_t bytes, uint32_t before = 0);

}  // namespace wandistill
