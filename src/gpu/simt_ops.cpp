// The SIMT device's ops: kernels, and products on the host in the stream's order.
#include <vector>

#include "src/gpu/simt_device.h"
#include "wandistill/device_ops.h"
#include "wandistill/error.h"
#include "wandistill/kernel_ops.h"
#include "wandistill/op_memory.h"

namespace wandistill {
namespace {

/// A tensor as floats: itself, or a copy that is rounded back when it goes out of scope (`write`).
template <class T>
class Floats {
 public:
  Floats(T* tensor, int64_t size, bool read, bool write) : tensor_(tensor), write_(write) {
    if constexpr (std::is_same_v<T, bf16>) {
      if (!tensor) return;
      copy_.resize(static_cast<size_t>(size));
      if (read)
        for (size_t i = 0; i < copy_.size(); ++i) copy_[i] = to_float(tensor[i]);
    }
  }
  ~Floats() {
    if constexpr (std::is_same_v<T, bf16>)
      if (write_)
        for (size_t i = 0; i < copy_.size(); ++i) tensor_[i] = to_bf16(copy_[i]);
  }
  Floats(const Floats&) = delete;
  Floats& operator=(const Floats&) = delete;
  float* data() {
    if constexpr (std::is_same_v<T, bf16>)
      return tensor_ ? copy_.data() : nullptr;
    else
      return tensor_;
  }

 private:
  T* tensor_;
  bool write_;
  std::vector<float> copy_;
};

template <class T>
Floats<T> input(const T* tensor, int64_t size) {
  return {const_cast<T*>(tensor), size, true, false};
}

SimtStream& stream_of(const Queue& queue) {
  auto* stream = dynamic_cast<SimtStream*>(queue.stream);
  if (!stream) fail("SIMT: the queue has no stream of a SIMT device");
  return *stream;
}

template <class T>
void linear_forward(int64_t m, int64_t n, int64_t k, const T* x, const T* weight, const T* bias, T* y,
                    const Queue& queue) {
  stream_of(queue).enqueue([=, host = Queue{queue.threads}] {
    Floats<T> fx = input(x, m * k), fw = input(weight, n * k), fb = input(bias, n), fy{y, m * n, false, true};
    cpu::linear_forward(m, n, k, fx.data(), fw.data(), fb.data(), fy.data(), host);
  });
}

template <class T>
void linear_gelu_forward(int64_t m, int64_t n, int64_t k, const T* x, const T* weight, const T* bias, T* raw,
                         T* act, const Queue& queue) {
  stream_of(queue).enqueue([=, host = Queue{queue.threads}] {
    Floats<T> fx = input(x, m * k), fw = input(weight, n * k), fb = input(bias, n),
              fraw{raw, m * n, false, true}, fact{act, m * n, false, true};
    cpu::linear_gelu_forward(m, n, k, fx.data(), fw.data(), fb.data(), fraw.data(), fact.data(), host);
  });
}

template <class T>
void linear_backward(int64_t m, int64_t n, int64_t k, const T* x, const T* weight, const T* dy, T* dx,
                     bool accumulate_dx, float* dweight, bool accumulate_dweight, float* dbias,
                     const Queue& queue) {
  stream_of(queue).enqueue([=, host = Queue{queue.threads}] {
    Floats<T> fx = input(x, m * k), fw = input(weight, n * k), fdy = input(dy, m * n),
              fdx{dx, m * k, accumulate_dx, true};
    cpu::linear_backward(m, n, k, fx.data(), fw.data(), fdy.data(), fdx.data(), accumulate_dx, dweight,
                         accumulate_dweight, nullptr, host);
  });
  if (dbias && !accumulate_dweight) fill_zero(queue, dbias, n);
  if (dbias) simt::kernel_ops<T>().add_column_sums(m, n, dy, dbias, queue);
}

template <class T>
void matmul(const MatmulShape& s, const T* a, const T* b, T* c, const Queue& queue) {
  stream_of(queue).enqueue([=, host = Queue{queue.threads}] {
    const auto span = [](int64_t rows, int64_t columns, int64_t stride) {
      return rows > 0 ? (rows - 1) * stride + columns : 0;
    };
    Floats<T> fa = input(a, s.transpose_a ? span(s.k, s.m, s.lda) : span(s.m, s.k, s.lda)),
              fb = input(b, s.transpose_b ? span(s.n, s.k, s.ldb) : span(s.k, s.n, s.ldb)),
              fc{c, span(s.m, s.n, s.ldc), true, true};
    cpu::matmul(s, fa.data(), fb.data(), fc.data(), host);
  });
}

}  // namespace

template <class T>
const OpsOf<T>& simt_ops() {
  static const OpsOf<T> table = [] {
    OpsOf<T> ops = simt::kernel_ops<T>();
    ops.linear_forward = linear_forward<T>;
    ops.linear_gelu_forward = linear_gelu_forward<T>;
    ops.linear_backward = linear_backward<T>;
    ops.matmul = matmul<T>;
    return ops;
  }();
  return table;
}
template const OpsOf<float>& simt_ops();
template const OpsOf<bf16>& simt_ops();

}  // namespace wandistill
