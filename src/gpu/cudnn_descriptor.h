// Descriptors of cuDNN's graph API, and its errors.
#pragma once

#include <cudnn.h>

#include <initializer_list>
#include <memory>

namespace wandistill {

/// A cuDNN call must succeed: else Error with call, place and the library's own words.
#define WD_CHECK_CUDNN(call) ::wandistill::check_cudnn((call), #call, __FILE__, __LINE__)
void check_cudnn(cudnnStatus_t status, const char* call, const char* file, int line);

struct DestroyCudnnDescriptor {
  void operator()(cudnnBackendDescriptor_t descriptor) const { cudnnBackendDestroyDescriptor(descriptor); }
};
/// cudnnBackendDescriptor_t is void*.
using CudnnDescriptor = std::unique_ptr<void, DestroyCudnnDescriptor>;

inline CudnnDescriptor make_descriptor(cudnnBackendDescriptorType_t type) {
  cudnnBackendDescriptor_t made = nullptr;
  WD_CHECK_CUDNN(cudnnBackendCreateDescriptor(type, &made));
  return CudnnDescriptor(made);
}

/// Value must be what `type` stands for (cudnn_graph.h).
template <class Value>
void set(const CudnnDescriptor& descriptor, cudnnBackendAttributeName_t name,
         cudnnBackendAttributeType_t type, std::initializer_list<Value> values) {
  WD_CHECK_CUDNN(cudnnBackendSetAttribute(descriptor.get(), name, type, static_cast<int64_t>(values.size()),
                                          values.begin()));
}
inline void set(const CudnnDescriptor& descriptor, cudnnBackendAttributeName_t name,
                const CudnnDescriptor& value) {
  set<cudnnBackendDescriptor_t>(descriptor, name, CUDNN_TYPE_BACKEND_DESCRIPTOR, {value.get()});
}

inline void finalize(const CudnnDescriptor& descriptor) {
  WD_CHECK_CUDNN(cudnnBackendFinalize(descriptor.get()));
}

}  // namespace wandistill
