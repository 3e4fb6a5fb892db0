// How HDF5 reaches the disk here: a file driver of our own.
#pragma once

#include <hdf5.h>

namespace wandistill::h5 {

/// A file access property list for our driver. HDF5 itself cannot live with a failing write: after a full
/// disk its caches stay dirty, closing fails, and the process crashes when the library cleans up at its end.
/// So the driver keeps the first errno in *first_error, lets HDF5 believe that all is well, and whoever wrote
/// asks *first_error. It must outlive the file. Nothing is locked (some network file systems cannot); format:
/// HDF5 1.8, whose metadata has checksums and in which a crashed writer leaves no "still open" flag behind.
hid_t make_access(int* first_error);

}  // namespace wandistill::h5
