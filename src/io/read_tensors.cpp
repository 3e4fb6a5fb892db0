#include "src/io/read_tensors.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cerrno>
#include <cstring>
#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <thread>

#include "wandistill/error.h"
#include "wandistill/fault.h"
#include "wandistill/half.h"

namespace wandistill {
namespace {

class OpenFile {
 public:
  explicit OpenFile(const std::filesystem::path& path)
      : path_(path), descriptor_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
    if (descriptor_ < 0) fail(path_.string(), ": cannot read: ", std::strerror(errno));
  }
  ~OpenFile() { ::close(descriptor_); }
  OpenFile(const OpenFile&) = delete;
  OpenFile& operator=(const OpenFile&) = delete;

  void read(int64_t at, int64_t bytes, char* to) const {
    while (bytes > 0) {
      ssize_t got = ::pread(descriptor_, to, static_cast<size_t>(bytes), at);
      if (fault_strikes("read")) got = -1, errno = EIO;
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) fail(path_.string(), ": cannot read at byte ", at, ": ", std::strerror(errno));
      if (got == 0)  // which of several readers says it first does not matter
        fail(path_.string(), ": ends at byte ", std::filesystem::file_size(path_),
             "; it was longer when it was opened");
      at += got;
      to += got;
      bytes -= got;
    }
  }

 private:
  std::filesystem::path path_;
  int descriptor_;
};

template <class T>
T to_element(float value) {
  if constexpr (std::is_same_v<T, float>)
    return value;
  else
    return to_bf16(value);
}

template <class From, class T, class Convert>
void convert(const char* from, int64_t count, T* to, Convert to_float32) {
  for (int64_t i = 0; i < count; ++i) {
    From element;
    std::memcpy(&element, from + i * int64_t(sizeof(From)), sizeof(From));
    to[i] = to_element<T>(to_float32(element));
  }
}

/// The file has the elements as they are wanted.
template <class T>
bool same(DType dtype) {
  return dtype == (std::is_same_v<T, float> ? DType::F32 : DType::BF16);
}

template <class T>
void convert(DType dtype, const char* from, int64_t count, T* to) {
  if (dtype == DType::F32) return convert<float>(from, count, to, [](float x) { return x; });
  if (dtype == DType::F64)
    return convert<double>(from, count, to, [](double x) { return static_cast<float>(x); });
  if (dtype == DType::F16) return convert<fp16>(from, count, to, [](fp16 x) { return to_float(x); });
  WD_REQUIRE(dtype == DType::BF16);  // expect() lets nothing else pass
  convert<bf16>(from, count, to, [](bf16 x) { return to_float(x); });
}

}  // namespace

template <class T>
int64_t read_tensors(const std::vector<TensorPiece>& pieces, int threads) {
  std::map<std::filesystem::path, std::unique_ptr<const OpenFile>> files;
  int64_t bytes = 0;
  for (const TensorPiece& piece : pieces) {
    std::unique_ptr<const OpenFile>& file = files[piece.tensor->file];
    if (!file) file = std::make_unique<const OpenFile>(piece.tensor->file);
    bytes += piece.count * dtype_size(piece.tensor->dtype);
  }
  std::atomic<size_t> next{0};
  std::mutex mutex;
  std::exception_ptr problem;
  const auto work = [&] {
    std::vector<char> raw;
    try {
      for (size_t i = next++; i < pieces.size(); i = next++) {
        const auto& [tensor, first, count, to] = pieces[i];
        const int64_t size = dtype_size(tensor->dtype), at = tensor->begin + first * size;
        const OpenFile& file = *files.at(tensor->file);
        if (to && same<T>(tensor->dtype)) {
          file.read(at, count * size, static_cast<char*>(to));
          continue;
        }
        raw.resize(static_cast<size_t>(count * size));
        file.read(at, count * size, raw.data());
        if (to) convert(tensor->dtype, raw.data(), count, static_cast<T*>(to));
      }
    } catch (...) {
      next = pieces.size();
      const std::lock_guard lock(mutex);
      if (!problem) problem = std::current_exception();
    }
  };
  {
    std::vector<std::jthread> others;
    for (int i = 1; i < std::min<int64_t>(threads, int64_t(pieces.size())); ++i) others.emplace_back(work);
    work();
  }
  if (problem) std::rethrow_exception(problem);
  return bytes;
}

template int64_t read_tensors<float>(const std::vector<TensorPiece>& pieces, int threads);
template int64_t read_tensors<bf16>(const std::vector<TensorPiece>& pieces, int threads);

}  // namespace wandistill
