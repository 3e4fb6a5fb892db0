#include "h5_detail.h"

#include <algorithm>
#include <cstring>

#include "wandistill/crc32c.h"
#include "wandistill/error.h"

namespace wandistill::h5 {
namespace {

/// The two innermost entries of HDF5's error stack, for example "unable to open file; truncated file: eof =
/// 100".
std::string last_error() {
  std::string text;
  const auto add = [](unsigned position, const H5E_error2_t* entry, void* into) -> herr_t {
    auto& text = *static_cast<std::string*>(into);
    if (position > 1 || entry->desc == nullptr || *entry->desc == '\0') return 0;
    if (!text.empty()) text += "; ";
    text += entry->desc;
    return 0;
  };
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, add, &text);
  return text.empty() ? "HDF5 gives no reason" : text;
}

}  // namespace

Lock lock() {
  static std::recursive_mutex mutex;
  return Lock(mutex);
}

void fail_at(const Place& place, const std::string& what) {
  if (place.name.empty()) fail(place.path.string(), ": ", what);
  fail(place.path.string(), ": '", place.name, "': ", what);
}

void fail_hdf5(const Place& place, const std::string& what) {
  fail_at(place, "cannot " + what + ": " + last_error());
}

void silence() {
  H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
  H5Eclear2(H5E_DEFAULT);
}

template <>
hid_t native_type<float>() {
  return H5T_NATIVE_FLOAT;
}
template <>
hid_t native_type<double>() {
  return H5T_NATIVE_DOUBLE;
}
template <>
hid_t native_type<int32_t>() {
  return H5T_NATIVE_INT32;
}
template <>
hid_t native_type<int64_t>() {
  return H5T_NATIVE_INT64;
}
template <>
hid_t native_type<uint64_t>() {
  return H5T_NATIVE_UINT64;
}
template <>
hid_t native_type<uint8_t>() {
  return H5T_NATIVE_UINT8;
}

namespace {

/// A little-endian float of 16 bits, sign and exponent before the mantissa. Made once, never closed.
hid_t make_short_float(int exponent_bits) {
  const hid_t type = H5Tcopy(H5T_IEEE_F32LE);
  const size_t exponent = size_t(exponent_bits), mantissa = 15 - exponent;
  H5Tset_fields(type, 15, mantissa, exponent, 0, mantissa);
  H5Tset_size(type, 2);
  H5Tset_ebias(type, (size_t{1} << (exponent - 1)) - 1);
  return type;
}

}  // namespace

template <>
hid_t native_type<bf16>() {
  static const hid_t type = make_short_float(8);
  return type;
}
template <>
hid_t native_type<fp16>() {
  static const hid_t type = make_short_float(5);
  return type;
}

std::vector<hsize_t> to_hsize(const Shape& shape) {
  return {shape.begin(), shape.end()};
}

Id make_space(const Shape& shape) {
  if (shape.empty()) return {H5Screate(H5S_SCALAR), H5Sclose};
  return {H5Screate_simple(static_cast<int>(shape.size()), to_hsize(shape).data(), nullptr), H5Sclose};
}

Id make_string_type(size_t bytes) {
  Id type(H5Tcopy(H5T_C_S1), H5Tclose);
  H5Tset_size(type, bytes);
  if (bytes != H5T_VARIABLE) H5Tset_strpad(type, H5T_STR_NULLPAD);
  H5Tset_cset(type, H5T_CSET_UTF8);
  return type;
}

bool link_exists(hid_t file, const std::string& name) {
  // H5Lexists wants every group on the way to exist.
  for (size_t slash = name.find('/', 1); slash != std::string::npos; slash = name.find('/', slash + 1))
    if (H5Lexists(file, name.substr(0, slash).c_str(), H5P_DEFAULT) <= 0) return false;
  return H5Lexists(file, name.c_str(), H5P_DEFAULT) > 0;
}

Dataset open_dataset(hid_t file, const Place& place) {
  silence();
  WD_REQUIRE(file >= 0);
  if (!link_exists(file, place.name)) fail_at(place, "there is no such dataset in this file");
  Id id(H5Dopen2(file, place.name.c_str(), H5P_DEFAULT), H5Dclose);
  if (id < 0) fail_hdf5(place, "open this dataset");
  Id type(H5Dget_type(id), H5Tclose), space(H5Dget_space(id), H5Sclose);
  const int dimensions = H5Sget_simple_extent_ndims(space);
  if (type < 0 || space < 0 || dimensions < 0) fail_hdf5(place, "read the type and shape");
  std::vector<hsize_t> size(static_cast<size_t>(dimensions));
  H5Sget_simple_extent_dims(space, size.data(), nullptr);
  return {std::move(id), std::move(type), std::move(space), Shape(size.begin(), size.end())};
}

namespace {

/// Makes the groups on the way to the object.
void make_groups(hid_t file, const Place& place) {
  const Id properties(H5Pcreate(H5P_GROUP_CREATE), H5Pclose);
  H5Pset_obj_track_times(properties, false);
  for (size_t slash = place.name.find('/', 1); slash != std::string::npos;
       slash = place.name.find('/', slash + 1)) {
    const std::string group = place.name.substr(0, slash);
    if (H5Lexists(file, group.c_str(), H5P_DEFAULT) > 0) continue;
    const Id id(H5Gcreate2(file, group.c_str(), H5P_DEFAULT, properties, H5P_DEFAULT), H5Gclose);
    if (id < 0) fail_hdf5(place, "create the group '" + group + "'");
  }
}

Id create(hid_t file, const Place& place, hid_t type, const Id& space, const Shape& chunk) {
  silence();
  WD_REQUIRE(file >= 0);
  make_groups(file, place);
  const Id properties(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
  H5Pset_obj_track_times(properties, false);
  if (!chunk.empty()) {
    H5Pset_chunk(properties, static_cast<int>(chunk.size()), to_hsize(chunk).data());
    if (H5Tis_variable_str(type) <= 0) H5Pset_fletcher32(properties);
  }
  Id id(H5Dcreate2(file, place.name.c_str(), type, space, H5P_DEFAULT, properties, H5P_DEFAULT), H5Dclose);
  if (id < 0) fail_hdf5(place, "create this dataset");
  return id;
}

constexpr const char* kCrc = "crc32c";

}  // namespace

Id create_dataset(hid_t file, const Place& place, hid_t type, const Shape& shape, const Shape& chunk) {
  return create(file, place, type, make_space(shape), chunk);
}

Id create_growing_dataset(hid_t file, const Place& place, hid_t type, const Shape& shape,
                          const Shape& chunk) {
  const Id space = make_space(shape);
  std::vector<hsize_t> most = to_hsize(shape);
  most[0] = H5S_UNLIMITED;
  H5Sset_extent_simple(space, static_cast<int>(shape.size()), to_hsize(shape).data(), most.data());
  return create(file, place, type, space, chunk);
}

void write_checked(const Id& dataset, const Place& place, hid_t type, const void* data, size_t bytes) {
  if (bytes > 0 && H5Dwrite(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) < 0)
    fail_hdf5(place, "write this dataset");
  const Id space = make_space({}),
           attribute(H5Acreate2(dataset, kCrc, H5T_NATIVE_UINT32, space, H5P_DEFAULT, H5P_DEFAULT), H5Aclose);
  const uint32_t crc = crc32c(data, bytes);
  if (attribute < 0 || H5Awrite(attribute, H5T_NATIVE_UINT32, &crc) < 0)
    fail_hdf5(place, "write the checksum of this dataset");
}

void check_crc(const Dataset& dataset, const Place& place, hid_t type, const void* data, size_t bytes) {
  const htri_t has_crc = H5Aexists(dataset.id, kCrc);
  if (has_crc == 0) return;
  const Id attribute(H5Aopen(dataset.id, kCrc, H5P_DEFAULT), H5Aclose);
  uint32_t stored = 0;
  if (attribute < 0 || H5Aread(attribute, H5T_NATIVE_UINT32, &stored) < 0)
    fail_hdf5(place, "read the checksum of this dataset");
  std::vector<char> in_file;
  if (H5Tequal(dataset.type, type) <= 0) {
    in_file.resize(H5Tget_size(dataset.type) * static_cast<size_t>(element_count(dataset.shape)));
    if (!in_file.empty() &&
        H5Dread(dataset.id, dataset.type, H5S_ALL, H5S_ALL, H5P_DEFAULT, in_file.data()) < 0)
      fail_hdf5(place, "read this dataset");
    data = in_file.data();
    bytes = in_file.size();
  }
  if (crc32c(data, bytes) != stored)
    fail_at(place, "the data is damaged: its checksum (CRC-32C) is another one");
}

Id select_rows(const Dataset& dataset, int64_t first, int64_t count, const Place& place) {
  if (dataset.shape.empty() || first < 0 || count < 0 || first + count > dataset.shape[0])
    fail_at(place, cat("expected rows ", first, " to ", first + count - 1, ", found shape ",
                       shape_text(dataset.shape)));
  std::vector<hsize_t> start(dataset.shape.size(), 0), size = to_hsize(dataset.shape);
  start[0] = static_cast<hsize_t>(first);
  size[0] = static_cast<hsize_t>(count);
  H5Sselect_hyperslab(dataset.space, H5S_SELECT_SET, start.data(), nullptr, size.data(), nullptr);
  return make_space(Shape(size.begin(), size.end()));
}

std::vector<std::string> read_strings(const Dataset& dataset, hid_t memory, hid_t selection, int64_t count,
                                      const Place& place) {
  if (!dataset.holds_strings()) fail_at(place, "expected text, found another type");
  std::vector<std::string> values;
  if (count == 0) return values;
  if (H5Tis_variable_str(dataset.type) > 0) {
    std::vector<char*> pointers(static_cast<size_t>(count), nullptr);
    const herr_t status = H5Dread(dataset.id, dataset.type, memory, selection, H5P_DEFAULT, pointers.data());
    for (char* pointer : pointers) {
      values.emplace_back(pointer ? pointer : "");
      H5free_memory(pointer);
    }
    if (status < 0) fail_hdf5(place, "read the text");
    return values;
  }
  const size_t size = H5Tget_size(dataset.type);
  std::vector<char> bytes(size * static_cast<size_t>(count));
  if (H5Dread(dataset.id, dataset.type, memory, selection, H5P_DEFAULT, bytes.data()) < 0)
    fail_hdf5(place, "read the text");
  for (const char* text = bytes.data(); text != bytes.data() + bytes.size(); text += size)
    values.emplace_back(text, strnlen(text, size));
  return values;
}

}  // namespace wandistill::h5
