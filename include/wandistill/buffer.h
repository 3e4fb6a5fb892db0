// Memory with one owner: 64-byte aligned, sized once, freed by its destructor.
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <new>

#include "wandistill/fault.h"

namespace wandistill {

/// Asks for huge pages for what of the memory they can hold, if that is much: there are fewer faults and TLB
/// misses. A system without them stays as it is.
void prefer_huge_pages(void* from, int64_t bytes);

/// An uninitialised, 64-byte aligned array of a trivial type. Movable, not copyable.
template <class T>
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(int64_t count) : data_(allocate(count * static_cast<int64_t>(sizeof(T)))), size_(count) {}
  /// A buffer of zeros.
  static Buffer zeros(int64_t count) {
    Buffer b(count);
    std::memset(b.data(), 0, static_cast<size_t>(count) * sizeof(T));
    return b;
  }
  static Buffer copy_of(const T* from, int64_t count) {
    Buffer b(count);
    std::memcpy(b.data(), from, static_cast<size_t>(count) * sizeof(T));
    return b;
  }

  T* data() { return data_.get(); }
  const T* data() const { return data_.get(); }
  int64_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  T& operator[](int64_t i) { return data_.get()[i]; }
  const T& operator[](int64_t i) const { return data_.get()[i]; }
  T* begin() { return data(); }
  T* end() { return data() + size_; }
  const T* begin() const { return data(); }
  const T* end() const { return data() + size_; }

 private:
  static T* allocate(int64_t bytes) {
    if (fault_strikes("allocation", bytes)) throw std::bad_alloc();
    void* const memory = ::operator new (static_cast<size_t>(bytes), std::align_val_t{64});
    prefer_huge_pages(memory, bytes);
    return static_cast<T*>(memory);
  }
  struct Free {
    void operator()(T* p) const { ::operator delete (p, std::align_val_t{64}); }
  };
  std::unique_ptr<T, Free> data_;
  int64_t size_ = 0;
};

}  // namespace wandistill
