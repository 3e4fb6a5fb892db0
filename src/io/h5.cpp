#include "wandistill/h5.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "h5_detail.h"
#include "h5_driver.h"
#include "wandistill/error.h"

namespace wandistill {
namespace {

namespace fs = std::filesystem;

const std::string kNoName;

template <class T>
size_t bytes_of(const Shape& shape) {
  return static_cast<size_t>(element_count(shape)) * sizeof(T);
}

/// Error "<file>: cannot <what>" with the system's reason if there is one, else HDF5's.
[[noreturn]] void fail_open(const fs::path& path, const std::string& what, int error) {
  if (error != 0) fail(path.string(), ": cannot ", what, ": ", std::strerror(error));
  h5::fail_hdf5({path, kNoName}, what);
}

}  // namespace

std::string h5_version() {
  const h5::Lock lock = h5::lock();
  unsigned major = 0, minor = 0, release = 0;
  H5get_libversion(&major, &minor, &release);
  return cat(major, ".", minor, ".", release);
}

H5File::H5File(fs::path path, bool writing)
    : path_(std::move(path)), first_error_(std::make_unique<int>(0)), writing_(writing) {}

H5File::H5File(H5File&& other) noexcept
    : path_(std::move(other.path_)),
      location_(std::move(other.location_)),
      first_error_(std::move(other.first_error_)),
      id_(std::exchange(other.id_, -1)),
      writing_(other.writing_),
      row_readers_(std::move(other.row_readers_)) {}

H5File::~H5File() {
  const h5::Lock lock = h5::lock();
  row_readers_.clear();
  if (id_ >= 0) H5Fclose(id_);
}

void H5File::open(unsigned flags) {
  const h5::Lock lock = h5::lock();
  h5::silence();
  if (fs::is_directory(path_)) fail(path_.string(), ": expected an HDF5 file, found a folder");
  const h5::Id access(h5::make_access(first_error_.get()), H5Pclose);
  location_ = path_;
  id_ = H5Fopen(path_.c_str(), flags, access);
  if (id_ < 0)
    fail_open(path_, *first_error_ ? "read" : "open as an HDF5 file (damaged, incomplete or something else)",
              *first_error_);
}

H5File H5File::open_read(const fs::path& path) {
  H5File file(path, false);
  file.open(H5F_ACC_RDONLY);
  return file;
}

H5File H5File::open_write(const fs::path& path) {
  H5File file(path, true);
  file.open(H5F_ACC_RDWR);
  return file;
}

H5File H5File::create(const fs::path& location, const fs::path& shown) {
  const h5::Lock lock = h5::lock();
  h5::silence();
  H5File file(shown.empty() ? location : shown, true);
  file.location_ = location;
  const h5::Id access(h5::make_access(file.first_error_.get()), H5Pclose);
  const h5::Id properties(H5Pcreate(H5P_FILE_CREATE), H5Pclose);
  H5Pset_obj_track_times(properties, false);  // of the root group
  file.id_ = H5Fcreate(location.c_str(), H5F_ACC_TRUNC, properties, access);
  if (file.id_ < 0) fail_open(file.path_, "create this file", *file.first_error_);
  file.check_written();
  return file;
}

void H5File::check_written() const {
  if (*first_error_ != 0) fail(path_.string(), ": cannot write: ", std::strerror(*first_error_));
}

void H5File::flush() {
  {
    const h5::Lock lock = h5::lock();
    h5::silence();
    const herr_t status = H5Fflush(id_, H5F_SCOPE_LOCAL);
    check_written();
    if (status < 0) h5::fail_hdf5({path_, kNoName}, "write to this file");
  }
  const int fd = ::open(location_.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0 || ::fsync(fd) != 0) *first_error_ = errno;
  if (fd >= 0) ::close(fd);
  check_written();
}

void H5File::close() {
  if (writing_) flush();
  const h5::Lock lock = h5::lock();
  h5::silence();
  row_readers_.clear();
  const herr_t status = H5Fclose(std::exchange(id_, -1));
  check_written();
  if (status < 0) h5::fail_hdf5({path_, kNoName}, "close this file");
}

bool H5File::exists(const std::string& name) const {
  const h5::Lock lock = h5::lock();
  h5::silence();
  return h5::link_exists(id_, name);
}

bool H5File::is_group(const std::string& name) const {
  const h5::Lock lock = h5::lock();
  if (!exists(name)) return false;
  H5O_info_t info;
  return H5Oget_info_by_name(id_, name.c_str(), &info, H5P_DEFAULT) >= 0 && info.type == H5O_TYPE_GROUP;
}

std::vector<std::string> H5File::list(const std::string& group) const {
  const h5::Lock lock = h5::lock();
  h5::silence();
  const bool root = group.empty() || group == "/";
  if (!root && !is_group(group)) h5::fail_at({path_, group}, "there is no such group in this file");
  std::vector<std::string> names;
  const auto add = [](hid_t, const char* name, const H5L_info_t*, void* into) -> herr_t {
    static_cast<std::vector<std::string>*>(into)->push_back(name);
    return 0;
  };
  const h5::Id id(H5Gopen2(id_, root ? "/" : group.c_str(), H5P_DEFAULT), H5Gclose);
  if (id < 0 || H5Literate(id, H5_INDEX_NAME, H5_ITER_INC, nullptr, add, &names) < 0)
    h5::fail_hdf5({path_, group}, "list this group");
  return names;
}

Shape H5File::shape(const std::string& name) const {
  const h5::Lock lock = h5::lock();
  return h5::open_dataset(id_, {path_, name}).shape;
}

template <class T>
void H5File::write(const std::string& name, const Shape& shape, const T* data) {
  const h5::Lock lock = h5::lock();
  const h5::Place place{path_, name};
  const h5::Id id = h5::create_dataset(id_, place, h5::native_type<T>(), shape);
  h5::write_checked(id, place, h5::native_type<T>(), data, bytes_of<T>(shape));
  check_written();
}

template <class T>
std::pair<Shape, std::vector<T>> H5File::read(const std::string& name) const {
  Shape shape = this->shape(name);
  std::vector<T> values(static_cast<size_t>(element_count(shape)));
  read<T>(name, shape, values.data());
  return {std::move(shape), std::move(values)};
}

template <class T>
void H5File::read(const std::string& name, const Shape& expected_shape, T* out) const {
  const h5::Lock lock = h5::lock();
  const h5::Place place{path_, name};
  const h5::Dataset dataset = h5::open_dataset(id_, place);
  if (dataset.shape != expected_shape)
    h5::fail_at(place,
                "expected shape " + shape_text(expected_shape) + ", found " + shape_text(dataset.shape));
  h5::require_numbers<T>(dataset, place);
  if (element_count(expected_shape) > 0 &&
      H5Dread(dataset.id, h5::native_type<T>(), H5S_ALL, H5S_ALL, H5P_DEFAULT, out) < 0)
    h5::fail_hdf5(place, "read this dataset");
  h5::check_crc(dataset, place, h5::native_type<T>(), out, bytes_of<T>(dataset.shape));
}

template <class T>
void H5File::read_rows(const std::string& name, int64_t first, int64_t count, T* out) const {
  const h5::Lock lock = h5::lock();
  const h5::Place place{path_, name};
  // Opening a dataset costs more than reading a row: files that do not change keep theirs open.
  std::shared_ptr<const h5::Dataset>& reader = row_readers_[name];
  if (!reader || writing_) reader = std::make_shared<const h5::Dataset>(h5::open_dataset(id_, place));
  const h5::Dataset& dataset = *reader;
  h5::require_numbers<T>(dataset, place);
  const h5::Id memory = h5::select_rows(dataset, first, count, place);
  if (count > 0 && H5Dread(dataset.id, h5::native_type<T>(), memory, dataset.space, H5P_DEFAULT, out) < 0)
    h5::fail_hdf5(place, "read rows of this dataset");
}

namespace {

/// Makes a dataset `count` rows longer and writes the new ones.
void append(hid_t file, const h5::Place& place, hid_t type, int64_t count, const void* rows) {
  h5::Dataset dataset = h5::open_dataset(file, place);
  if (dataset.shape.empty()) h5::fail_at(place, "a scalar cannot grow");
  const int64_t first = dataset.shape[0];
  dataset.shape[0] += count;
  if (H5Dset_extent(dataset.id, h5::to_hsize(dataset.shape).data()) < 0) h5::fail_hdf5(place, "append rows");
  dataset.space = h5::Id(H5Dget_space(dataset.id), H5Sclose);
  const h5::Id memory = h5::select_rows(dataset, first, count, place);
  if (count > 0 && H5Dwrite(dataset.id, type, memory, dataset.space, H5P_DEFAULT, rows) < 0)
    h5::fail_hdf5(place, "append rows");
}

Shape rows_of(int64_t rows, const Shape& row_shape) {
  Shape shape = row_shape;
  shape.insert(shape.begin(), rows);
  return shape;
}

}  // namespace

template <class T>
void H5File::create_extendible(const std::string& name, const Shape& row_shape, int64_t chunk_rows) {
  const int64_t row_bytes = element_count(row_shape) * static_cast<int64_t>(sizeof(T));
  WD_REQUIRE(row_bytes > 0);
  if (chunk_rows == 0) chunk_rows = std::max<int64_t>(1, (int64_t{1} << 18) / row_bytes);
  const h5::Lock lock = h5::lock();
  h5::create_growing_dataset(id_, {path_, name}, h5::native_type<T>(), rows_of(0, row_shape),
                             rows_of(chunk_rows, row_shape));
}

template <class T>
void H5File::append_rows(const std::string& name, int64_t count, const T* rows) {
  const h5::Lock lock = h5::lock();
  append(id_, {path_, name}, h5::native_type<T>(), count, rows);
  check_written();
}

#define WD_H5_TYPE(T)                                                                    \
  template void H5File::write<T>(const std::string&, const Shape&, const T*);            \
  template std::pair<Shape, std::vector<T>> H5File::read<T>(const std::string&) const;   \
  template void H5File::read<T>(const std::string&, const Shape&, T*) const;             \
  template void H5File::read_rows<T>(const std::string&, int64_t, int64_t, T*) const;    \
  template void H5File::create_extendible<T>(const std::string&, const Shape&, int64_t); \
  template void H5File::append_rows<T>(const std::string&, int64_t, const T*);
WD_H5_TYPE(float)
WD_H5_TYPE(double)
WD_H5_TYPE(int32_t)
WD_H5_TYPE(int64_t)
WD_H5_TYPE(uint64_t)
WD_H5_TYPE(uint8_t)
WD_H5_TYPE(bf16)
WD_H5_TYPE(fp16)
#undef WD_H5_TYPE

void H5File::write_string(const std::string& name, const std::string& value) {
  const h5::Lock lock = h5::lock();
  const h5::Place place{path_, name};
  // Of its own length: texts of variable length lie in a heap that has no checksum and is trusted blindly.
  const size_t bytes = std::max<size_t>(1, value.size());
  const h5::Id type = h5::make_string_type(bytes), id = h5::create_dataset(id_, place, type, {});
  h5::write_checked(id, place, type, value.c_str(), bytes);
  check_written();
}

// Of one length: see write_string().
void H5File::write_strings(const std::string& name, const std::vector<std::string>& values) {
  const h5::Lock lock = h5::lock();
  const h5::Place place{path_, name};
  size_t longest = 1;
  for (const std::string& value : values) longest = std::max(longest, value.size());
  std::string padded;
  for (const std::string& value : values) padded += value + std::string(longest - value.size(), '\0');
  const h5::Id type = h5::make_string_type(longest);
  const h5::Id id = h5::create_dataset(id_, place, type, {static_cast<int64_t>(values.size())});
  h5::write_checked(id, place, type, padded.data(), padded.size());
  check_written();
}

std::string H5File::read_string(const std::string& name) const {
  const h5::Lock lock = h5::lock();
  const h5::Place place{path_, name};
  const h5::Dataset dataset = h5::open_dataset(id_, place);
  if (!dataset.shape.empty())
    h5::fail_at(place, "expected one text, found shape " + shape_text(dataset.shape));
  std::string text = h5::read_strings(dataset, H5S_ALL, H5S_ALL, 1, place)[0], bytes = text;
  bytes.resize(H5Tget_size(dataset.type));  // with the padding
  if (H5Tis_variable_str(dataset.type) <= 0)
    h5::check_crc(dataset, place, dataset.type, bytes.data(), bytes.size());
  return text;
}

std::vector<std::string> H5File::read_strings(const std::string& name) const {
  return read_string_rows(name, 0, -1);
}

std::vector<std::string> H5File::read_string_rows(const std::string& name, int64_t first,
                                                  int64_t count) const {
  const h5::Lock lock = h5::lock();
  const h5::Place place{path_, name};
  const h5::Dataset dataset = h5::open_dataset(id_, place);
  if (dataset.shape.size() != 1)
    h5::fail_at(place, "expected a list of texts, found shape " + shape_text(dataset.shape));
  if (count < 0) count = dataset.shape[0] - first;
  const h5::Id memory = h5::select_rows(dataset, first, count, place);
  std::vector<std::string> values = h5::read_strings(dataset, memory, dataset.space, count, place);
  if (count == dataset.shape[0] && H5Tis_variable_str(dataset.type) <= 0) {
    const size_t size = H5Tget_size(dataset.type);
    std::string bytes;
    for (const std::string& value : values) bytes += value + std::string(size - value.size(), '\0');
    h5::check_crc(dataset, place, dataset.type, bytes.data(), bytes.size());
  }
  return values;
}

void H5File::create_extendible_strings(const std::string& name) {
  const h5::Lock lock = h5::lock();
  h5::create_growing_dataset(id_, {path_, name}, h5::make_string_type(), {0}, {1024});
}

void H5File::append_string(const std::string& name, const std::string& value) {
  const h5::Lock lock = h5::lock();
  const char* text = value.c_str();
  append(id_, {path_, name}, h5::make_string_type(), 1, &text);
  check_written();
}

}  // namespace wandistill
