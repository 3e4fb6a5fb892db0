// HDF5 files with one writer or reader: datasets by path, read and written whole or row by row.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "wandistill/file.h"
#include "wandistill/half.h"
#include "wandistill/shape.h"

namespace wandistill {

namespace h5 {
struct Dataset;
}

/// Of the HDF5 library that runs, "1.10.8".
std::string h5_version();

/// An open HDF5 file. Every failure, a full disk included, is an Error with the file, the object and the
/// reason (the system's or HDF5's). Paths inside the file look like "student/init/proj_out.weight"; missing
/// groups are made. T: float, double, bf16, fp16, int32_t, int64_t, uint64_t, uint8_t; numbers are converted
/// to T on reading (float64 to float, integers to double, ...), but never floats to integers. A file has the
/// same bytes whenever the same is written to it in the same order. What is stored has checksums, so that a
/// damaged dataset is an Error and not wrong numbers: a CRC-32C of what is written whole, which is looked at
/// where it is read whole, and one for each chunk of appended rows. (Appended texts have none.) A file is for
/// one thread at a time; threads with different files take turns, call by call.
class H5File {
 public:
  static H5File open_read(const std::filesystem::path& path);
  /// A new file at `location`; replaces one that exists. Errors call it `shown` (empty: location). For an
  /// atomic write use write_h5_atomically, or temporary_name() and commit_file() after close() (file.h).
  static H5File create(const std::filesystem::path& location, const std::filesystem::path& shown = {});
  /// An existing file, for reading, new datasets and append_rows.
  static H5File open_write(const std::filesystem::path& path);
  /// Closes without checking: call close() on everything that was written.
  ~H5File();
  H5File(H5File&& other) noexcept;
  H5File& operator=(H5File&&) = delete;

  /// Flushes and closes, with errors checked, and fsyncs a file that was written.
  void close();
  const std::filesystem::path& path() const { return path_; }

  bool exists(const std::string& name) const;
  /// The names in a group ("" or "/" for the root), sorted; datasets and groups.
  std::vector<std::string> list(const std::string& group) const;
  bool is_group(const std::string& name) const;
  /// A dataset's shape; empty for a scalar.
  Shape shape(const std::string& name) const;

  /// An empty shape writes a scalar.
  template <class T>
  void write(const std::string& name, const Shape& shape, const T* data);
  template <class T>
  void write_scalar(const std::string& name, T value) {
    write<T>(name, {}, &value);
  }
  void write_string(const std::string& name, const std::string& value);
  void write_strings(const std::string& name, const std::vector<std::string>& values);

  template <class T>
  std::pair<Shape, std::vector<T>> read(const std::string& name) const;
  /// Into out; another shape than expected is an Error with both.
  template <class T>
  void read(const std::string& name, const Shape& expected_shape, T* out) const;
  template <class T>
  T read_scalar(const std::string& name) const {
    T value{};
    read<T>(name, {}, &value);
    return value;
  }
  double read_scalar_double(const std::string& name) const { return read_scalar<double>(name); }
  int64_t read_scalar_int64(const std::string& name) const { return read_scalar<int64_t>(name); }
  /// A scalar string, of fixed or variable length (as h5py writes them).
  std::string read_string(const std::string& name) const;
  /// A one-dimensional array of strings.
  std::vector<std::string> read_strings(const std::string& name) const;

  /// Rows [first, first + count) of the outermost dimension.
  template <class T>
  void read_rows(const std::string& name, int64_t first, int64_t count, T* out) const;
  /// A dataset of zero rows that append_rows makes longer. Chunks hold chunk_rows rows (0: about 256 KiB).
  template <class T>
  void create_extendible(const std::string& name, const Shape& row_shape, int64_t chunk_rows = 0);
  /// Appends `count` rows.
  template <class T>
  void append_rows(const std::string& name, int64_t count, const T* rows);
  void create_extendible_strings(const std::string& name);
  void append_string(const std::string& name, const std::string& value);
  /// Strings [first, first + count); a negative count: all from `first` on.
  std::vector<std::string> read_string_rows(const std::string& name, int64_t first, int64_t count) const;

  /// What has been written so far reaches the disk (H5Fflush + fsync).
  void flush();

 private:
  H5File(std::filesystem::path path, bool writing);
  void open(unsigned flags);
  void check_written() const;

  std::filesystem::path path_, location_;  ///< for messages; on the disk
  std::unique_ptr<int> first_error_;       ///< errno of the first failed access; the open file points to it
  int64_t id_ = -1;                        ///< hid_t
  bool writing_ = false;
  mutable std::map<std::string, std::shared_ptr<const h5::Dataset>> row_readers_;  // by name
};

/// Creates a file under a temporary name, lets `fill(H5File&)` write it, then closes, fsyncs and renames it.
/// On any failure the temporary is removed and an older file at `path` stays as it was.
template <class Fill>
void write_h5_atomically(const std::filesystem::path& path, Fill&& fill) {
  const std::filesystem::path temporary = temporary_name(path);
  try {
    H5File file = H5File::create(temporary, path);
    fill(file);
    file.close();
    commit_file(temporary, path);
  } catch (...) {
    std::error_code ignored;
    std::filesystem::remove(temporary, ignored);
    throw;
  }
}

}  // namespace wandistill
