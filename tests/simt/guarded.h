// Tensors of tests between guard elements, which no kernel may write.
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "tests/simt/device_session.h"
#include "wandistill/half.h"

namespace wandistill::simt_test {

/// Elements in front of a tensor and behind it. None for AddressSanitizer, which sees what is out of bounds
/// itself, reads too.
#ifdef __SANITIZE_ADDRESS__
constexpr int64_t kGuard = 0;
#else
constexpr int64_t kGuard = 8;
#endif

/// What guard elements and unset ones consist of: signalling NaN in float and bf16, so that what is read
/// there spoils a result, and what is computed from it and put back has other bits.
constexpr uint8_t kUnsetBytes[] = {0xA4, 0xFF};

/// A device tensor that starts `shift` elements behind an aligned address.
template <class T>
class Guarded {
 public:
  /// What a test sees of T.
  using Value = std::conditional_t<std::is_same_v<T, bf16>, float, T>;

  /// Unset.
  Guarded(DeviceSession& session, int64_t n, int64_t shift = 0)
      : session_(&session), front_(kGuard + shift), size_(n), buffer_(session.upload(unset())) {}
  /// Of these values, rounded to T.
  Guarded(DeviceSession& session, const std::vector<Value>& values, int64_t shift = 0)
      : session_(&session), front_(kGuard + shift), size_(std::ssize(values)) {
    std::vector<T> all = unset();
    if constexpr (std::is_same_v<T, bf16>)
      std::transform(values.begin(), values.end(), all.begin() + front_, to_bf16);
    else
      std::copy(values.begin(), values.end(), all.begin() + front_);
    buffer_ = session.upload(all);
  }

  T* data() { return buffer_.data() + front_; }
  const T* data() const { return buffer_.data() + front_; }

  /// The values now; a check fails if a guard element is another.
  std::vector<Value> values() const {
    const std::vector<T> all = session_->download(buffer_);
    const auto begin = all.begin() + front_, end = begin + size_;
    const bool front_whole = whole(all, 0, front_);
    const bool back_whole = whole(all, front_ + size_, kGuard);
    CHECK_MESSAGE(front_whole, "written in front of a tensor");
    CHECK_MESSAGE(back_whole, "written behind a tensor");
    std::vector<Value> found(static_cast<size_t>(size_));
    if constexpr (std::is_same_v<T, bf16>)
      std::transform(begin, end, found.begin(), [](bf16 v) { return to_float(v); });
    else
      std::copy(begin, end, found.begin());
    return found;
  }

 private:
  std::vector<T> unset() const {
    std::vector<T> all(static_cast<size_t>(front_ + size_ + kGuard));
    auto* bytes = reinterpret_cast<uint8_t*>(all.data());
    for (size_t i = 0; i < all.size() * sizeof(T); ++i) bytes[i] = kUnsetBytes[i % 2];
    return all;
  }
  /// Whether these elements are unset.
  static bool whole(const std::vector<T>& all, int64_t first, int64_t count) {
    const auto* bytes = reinterpret_cast<const uint8_t*>(all.data());
    const auto size = static_cast<int64_t>(sizeof(T));
    for (int64_t i = first * size; i < (first + count) * size; ++i)
      if (bytes[i] != kUnsetBytes[i % 2]) return false;
    return true;
  }

  DeviceSession* session_;
  int64_t front_, size_;
  DeviceBuffer<T> buffer_;
};

}  // namespace wandistill::simt_test
