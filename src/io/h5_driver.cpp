#include "h5_driver.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>
#include <utility>

#include "wandistill/fault.h"

namespace wandistill::h5 {
namespace {

/// What HDF5 copies from the access list into every file it opens.
struct Settings {
  int* first_error;
};

/// One open file. HDF5 handles it by its first member.
struct File {
  H5FD_t base;
  int fd;
  int* first_error;
  haddr_t allocated;  ///< "eoa": how far HDF5 has given addresses out
  haddr_t length;     ///< "eof": the file's length, as HDF5 believes it
  dev_t device;
  ino_t inode;
};

File* of(H5FD_t* file) {
  return reinterpret_cast<File*>(file);
}
const File* of(const H5FD_t* file) {
  return reinterpret_cast<const File*>(file);
}

H5FD_t* open_file(const char* name, unsigned flags, hid_t access, haddr_t) {
  int* first_error = static_cast<const Settings*>(H5Pget_driver_info(access))->first_error;
  const int mode = (flags & H5F_ACC_RDWR ? O_RDWR : O_RDONLY) | (flags & H5F_ACC_TRUNC ? O_TRUNC : 0) |
                   (flags & H5F_ACC_CREAT ? O_CREAT : 0) | (flags & H5F_ACC_EXCL ? O_EXCL : 0) | O_CLOEXEC;
  const int fd = ::open(name, mode, 0666);
  struct stat status;
  if (fd < 0 || ::fstat(fd, &status) != 0) {
    *first_error = errno;
    if (fd >= 0) ::close(fd);
    return nullptr;
  }
  *first_error = 0;  // HDF5 may have tried in vain before: to see whether the file exists
  auto* file = new File{};
  file->fd = fd;
  file->first_error = first_error;
  file->length = static_cast<haddr_t>(status.st_size);
  file->device = status.st_dev;
  file->inode = status.st_ino;
  return &file->base;
}

herr_t close_file(H5FD_t* base) {
  File* file = of(base);
  if (::close(file->fd) != 0 && *file->first_error == 0) *file->first_error = errno;
  delete file;
  return 0;
}

int compare(const H5FD_t* a, const H5FD_t* b) {
  const std::pair left(of(a)->device, of(a)->inode), right(of(b)->device, of(b)->inode);
  return left < right ? -1 : left > right;
}

herr_t query(const H5FD_t*, unsigned long* flags) {
  *flags = H5FD_FEAT_AGGREGATE_METADATA | H5FD_FEAT_ACCUMULATE_METADATA | H5FD_FEAT_DATA_SIEVE |
           H5FD_FEAT_AGGREGATE_SMALLDATA | H5FD_FEAT_DEFAULT_VFD_COMPATIBLE;
  return 0;
}

haddr_t get_eoa(const H5FD_t* file, H5FD_mem_t) {
  return of(file)->allocated;
}
herr_t set_eoa(H5FD_t* file, H5FD_mem_t, haddr_t address) {
  of(file)->allocated = address;
  return 0;
}
haddr_t get_eof(const H5FD_t* file, H5FD_mem_t) {
  return of(file)->length;
}

/// Bytes beyond the end of the file read as zeros, as HDF5 expects.
herr_t read_bytes(H5FD_t* base, H5FD_mem_t, hid_t, haddr_t address, size_t size, void* into) {
  File* file = of(base);
  char* to = static_cast<char*>(into);
  while (size > 0) {
    ssize_t count = ::pread(file->fd, to, size, static_cast<off_t>(address));
    if (fault_strikes("read")) {
      count = -1;
      errno = EIO;
    }
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && *file->first_error == 0) *file->first_error = errno;
    if (count < 0) return -1;
    if (count == 0) break;
    to += count;
    address += static_cast<haddr_t>(count);
    size -= static_cast<size_t>(count);
  }
  std::memset(to, 0, size);
  return 0;
}

herr_t write_bytes(H5FD_t* base, H5FD_mem_t, hid_t, haddr_t address, size_t size, const void* from) {
  File* file = of(base);
  file->length = std::max<haddr_t>(file->length, address + size);
  const char* data = static_cast<const char*>(from);
  while (size > 0 && *file->first_error == 0) {
    ssize_t count = ::pwrite(file->fd, data, size, static_cast<off_t>(address));
    if (fault_strikes("write")) {
      count = -1;
      errno = ENOSPC;
    }
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) {
      *file->first_error = errno;
      break;
    }
    data += count;
    address += static_cast<haddr_t>(count);
    size -= static_cast<size_t>(count);
  }
  return 0;
}

/// The file gets exactly the length that is in use.
herr_t truncate(H5FD_t* base, hid_t, hbool_t) {
  File* file = of(base);
  if (file->length == file->allocated) return 0;
  if (*file->first_error == 0 && ::ftruncate(file->fd, static_cast<off_t>(file->allocated)) != 0)
    *file->first_error = errno;
  file->length = file->allocated;
  return 0;
}

constexpr H5FD_class_t kDriver = {
    .name = "wandistill",
    .maxaddr = static_cast<haddr_t>(std::numeric_limits<off_t>::max()),
    .fc_degree = H5F_CLOSE_WEAK,
    .terminate = nullptr,
    .sb_size = nullptr,
    .sb_encode = nullptr,
    .sb_decode = nullptr,
    .fapl_size = sizeof(Settings),
    .fapl_get = nullptr,
    .fapl_copy = nullptr,
    .fapl_free = nullptr,
    .dxpl_size = 0,
    .dxpl_copy = nullptr,
    .dxpl_free = nullptr,
    .open = open_file,
    .close = close_file,
    .cmp = compare,
    .query = query,
    .get_type_map = nullptr,
    .alloc = nullptr,
    .free = nullptr,
    .get_eoa = get_eoa,
    .set_eoa = set_eoa,
    .get_eof = get_eof,
    .get_handle = nullptr,
    .read = read_bytes,
    .write = write_bytes,
    .flush = nullptr,
    .truncate = truncate,
    .lock = nullptr,
    .unlock = nullptr,
    .fl_map = H5FD_FLMAP_DICHOTOMY,
};

}  // namespace

hid_t make_access(int* first_error) {
  const hid_t access = H5Pcreate(H5P_FILE_ACCESS), driver = H5FDregister(&kDriver);
  const Settings settings{first_error};
  H5Pset_driver(access, driver, &settings);
  H5FDunregister(driver);  // the list keeps it
  H5Pset_libver_bounds(access, H5F_LIBVER_V18, H5F_LIBVER_V18);
  return access;
}

}  // namespace wandistill::h5
