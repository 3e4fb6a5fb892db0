// What h5.cpp and h5_rows.cpp share: HDF5 identifiers with owners, and errors that say where.
#pragma once

#include <hdf5.h>

#include <filesystem>
#include <mutex>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "wandistill/half.h"
#include "wandistill/shape.h"

namespace wandistill::h5 {

/// The library is for one thread at a time, its errors included. Recursive: functions of H5File call others.
using Lock = std::unique_lock<std::recursive_mutex>;
Lock lock();

/// An HDF5 identifier that is closed in the end.
class Id {
 public:
  using Close = herr_t (*)(hid_t);
  Id(hid_t id, Close close) : id_(id), close_(close) {}
  Id(Id&& other) noexcept : id_(std::exchange(other.id_, H5I_INVALID_HID)), close_(other.close_) {}
  Id& operator=(Id&& other) noexcept {
    std::swap(id_, other.id_);
    std::swap(close_, other.close_);
    return *this;
  }
  ~Id() {
    if (id_ >= 0) close_(id_);
  }
  operator hid_t() const { return id_; }

 private:
  hid_t id_;
  Close close_;
};

/// Where in which file: for errors.
struct Place {
  const std::filesystem::path& path;
  const std::string& name;
};

/// Error "<file>: '<name>': <what>".
[[noreturn]] void fail_at(const Place& place, const std::string& what);
/// Error "<file>: '<name>': cannot <what>: <HDF5's reason>".
[[noreturn]] void fail_hdf5(const Place& place, const std::string& what);
/// HDF5 prints its errors to stderr by default; ours go into Error. The setting is per thread: call it first.
void silence();

template <class T>
hid_t native_type();
std::vector<hsize_t> to_hsize(const Shape& shape);
/// Scalar for the empty shape.
Id make_space(const Shape& shape);
/// UTF-8 of so many bytes, H5T_VARIABLE (the default): of any length, what h5py writes and reads as str.
Id make_string_type(size_t bytes = H5T_VARIABLE);
bool link_exists(hid_t file, const std::string& name);

/// An open dataset with its type and space.
struct Dataset {
  Id id, type, space;
  Shape shape;

  bool holds_strings() const { return H5Tget_class(type) == H5T_STRING; }
};
Dataset open_dataset(hid_t file, const Place& place);

/// Creates a dataset and its groups; without a chunk shape it is stored in one piece.
Id create_dataset(hid_t file, const Place& place, hid_t type, const Shape& shape, const Shape& chunk = {});
/// Rows can be appended to it. Chunks of numbers have checksums (HDF5's Fletcher-32).
Id create_growing_dataset(hid_t file, const Place& place, hid_t type, const Shape& shape, const Shape& chunk);

/// Writes the whole dataset, of `bytes` bytes, and their CRC-32C as its attribute "crc32c". HDF5 has
/// checksums for its own structures and for chunks, not for what is stored in one piece; and the index of
/// chunks has none.
void write_checked(const Id& dataset, const Place& place, hid_t type, const void* data, size_t bytes);
/// Error if the dataset has that attribute and it is not the CRC of these bytes: of the whole dataset, as
/// `type`; as they lie in the file they are read again where that is another type.
void check_crc(const Dataset& dataset, const Place& place, hid_t type, const void* data, size_t bytes);

/// Selects rows [first, first + count) in the dataset's space and returns a memory space of their shape.
Id select_rows(const Dataset& dataset, int64_t first, int64_t count, const Place& place);
/// The strings of a selection; `memory` and `selection` as H5Dread takes them.
std::vector<std::string> read_strings(const Dataset& dataset, hid_t memory, hid_t selection, int64_t count,
                                      const Place& place);

/// Error unless the dataset's numbers can become T without loss of kind.
template <class T>
void require_numbers(const Dataset& dataset, const Place& place) {
  constexpr bool fractions =
      std::is_floating_point_v<T> || std::is_same_v<T, bf16> || std::is_same_v<T, fp16>;
  const H5T_class_t found = H5Tget_class(dataset.type);
  if (found == H5T_INTEGER || (found == H5T_FLOAT && fractions)) return;
  fail_at(place, std::string("expected ") + (fractions ? "numbers" : "whole numbers") + ", found " +
                     (found == H5T_FLOAT    ? "floating point"
                      : found == H5T_STRING ? "text"
                                            : "another type"));
}

}  // namespace wandistill::h5
