// Memory where a queue's ops work: the host's where the queue has no stream, else a device's.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <utility>

#include "wandistill/buffer.h"
#include "wandistill/gpu.h"
#include "wandistill/queue.h"

namespace wandistill {

/// `count` uninitialised elements of a trivial type. On a device it comes and goes in the order of the
/// queue's stream, which must outlive it.
template <class T>
class OpBuffer {
 public:
  OpBuffer() = default;
  OpBuffer(const Queue& queue, int64_t count) {
    if (queue.stream)
      device_ = DeviceBuffer<T>(*queue.stream, count);
    else
      host_ = Buffer<T>(count);
  }

  /// Host memory of another owner.
  explicit OpBuffer(Buffer<T> host) : host_(std::move(host)) {}

  T* data() { return device_.data() ? device_.data() : host_.data(); }
  const T* data() const { return device_.data() ? device_.data() : host_.data(); }
  int64_t size() const { return device_.size() + host_.size(); }
  bool empty() const { return size() == 0; }

 private:
  Buffer<T> host_;
  DeviceBuffer<T> device_;
};

/// Between two places in the memory of the queue's ops.
template <class T>
void copy(const Queue& queue, T* to, const T* from, int64_t count) {
  if (queue.stream)
    copy(*queue.stream, to, from, count);
  else
    std::copy(from, from + count, to);
}

/// `to` := bytes of zero.
template <class T>
void fill_zero(const Queue& queue, T* to, int64_t count) {
  const int64_t bytes = count * static_cast<int64_t>(sizeof(T));
  if (queue.stream)
    queue.stream->fill(to, 0, bytes);
  else
    std::memset(to, 0, static_cast<size_t>(bytes));
}

/// From the host's memory, which may be changed at once.
template <class T>
void upload(const Queue& queue, T* to, const T* from_host, int64_t count) {
  if (queue.stream)
    queue.stream->upload(to, from_host, count * static_cast<int64_t>(sizeof(T)));
  else
    std::copy(from_host, from_host + count, to);
}

/// To the host's memory, there when it returns.
template <class T>
void download(const Queue& queue, T* to_host, const T* from, int64_t count) {
  if (queue.stream)
    queue.stream->download(to_host, from, count * static_cast<int64_t>(sizeof(T)));
  else
    std::copy(from, from + count, to_host);
}

}  // namespace wandistill
