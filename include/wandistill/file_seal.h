// A checksum at the end of a finished file, by which damage is found wherever it is.
#pragma once

#include <filesystem>

namespace wandistill {

/// Appends a line with the checksum of all bytes before it: the seal. For formats that do not mind bytes
/// behind their end (HDF5 is one). The file is not fsynced.
void seal_file(const std::filesystem::path& path);

enum class Seal { kIntact, kAbsent, kBroken };
/// Reads the whole file. Broken: some byte is not what it was when the file was sealed. A file that lost its
/// end, or whose seal itself was hit, may look as if it had none.
Seal check_seal(const std::filesystem::path& path);

}  // namespace wandistill
