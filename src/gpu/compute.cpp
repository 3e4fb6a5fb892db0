#include "wandistill/compute.h"

#include <algorithm>

#include "wandistill/choose_gpu.h"
#include "wandistill/device_ops.h"
#include "wandistill/error.h"
#include "wandistill/memory.h"

namespace wandistill {
namespace {

void round(int64_t n, const float* values, bf16* rounded) {
  for (int64_t i = 0; i < n; ++i) rounded[i] = to_bf16(values[i]);
}

/// For "auto" 0 where a rank has none: the CPU is taken then.
int own_gpu(Session& session, const std::string& name) {
  const bool none = session.any(cuda_device_count() == 0);
  return none && name == "auto" ? 0 : choose_gpu(session);
}

/// Error if the device, none of "auto", has no such convolution.
void check_conv(const std::string& device, const std::string& conv) {
  if (conv == "own") return;
  if (conv != "cudnn") fail("unknown convolution '", conv, "'; expected own or cudnn");
  if (device != "cuda")
    fail("--conv cudnn computes on GPUs, and this run on ", device == "simt" ? "the SIMT device" : "the CPU",
         "; --conv own computes everywhere");
  cudnn_ops<float>();
}

std::string choose_device(Session& session, const std::string& name, const std::string& conv) {
  const bool none = session.any(cuda_device_count() == 0);
  const std::string device = name != "auto" ? name : none ? "cpu" : "cuda";
  session.collectively([&] { check_conv(device, conv); });
  return device;
}

}  // namespace

ModelWeights::ModelWeights(const Compute& compute, Dtype dtype, const ParameterLayout& layout,
                           const std::function<void(const ParameterInfo&, float*)>& read) {
  const bool narrow = compute.element(dtype) == Dtype::kBfloat16;
  if (narrow)
    halves_ = OpBuffer<bf16>(compute, layout.total());
  else
    floats_ = OpBuffer<float>(compute, layout.total());
  if (compute.on_host()) {
    for (const ParameterInfo& p : layout.parameters()) read(p, floats_.data() + p.offset);
    return;
  }
  int64_t largest = 0;
  for (const ParameterInfo& p : layout.parameters()) largest = std::max(largest, p.size);
  Buffer<float> values(largest);
  Buffer<bf16> rounded(narrow ? largest : 0);
  for (const ParameterInfo& p : layout.parameters()) {
    read(p, values.data());
    if (narrow) {
      round(p.size, values.data(), rounded.data());
      upload(compute, halves_.data() + p.offset, rounded.data(), p.size);
    } else {
      upload(compute, floats_.data() + p.offset, values.data(), p.size);
    }
  }
}

template <class T>
OpBuffer<T> place(const Compute& compute, Buffer<float> values) {
  if constexpr (std::is_same_v<T, float>) {
    if (compute.on_host()) return OpBuffer<float>(std::move(values));
    OpBuffer<float> placed(compute, values.size());
    upload(compute, placed.data(), values.data(), values.size());
    return placed;
  } else {
    Buffer<bf16> rounded(values.size());
    round(values.size(), values.data(), rounded.data());
    OpBuffer<bf16> placed(compute, rounded.size());
    upload(compute, placed.data(), rounded.data(), rounded.size());
    return placed;
  }
}
template OpBuffer<float> place(const Compute& compute, Buffer<float> values);
template OpBuffer<bf16> place(const Compute& compute, Buffer<float> values);

OpTensor::OpTensor(const Compute& compute, Dtype dtype, Buffer<float> values) {
  if (compute.element(dtype) == Dtype::kFloat32)
    floats_ = place<float>(compute, std::move(values));
  else
    halves_ = place<bf16>(compute, std::move(values));
}

int64_t Compute::memory_budget(const Session& session) const {
  const int64_t free = device ? device->free_bytes() : -1;
  return free >= 0 ? free / 2 : available_memory() / 2 / session.local_size();
}

std::string Compute::products(Dtype dtype) const {
  if (dtype == Dtype::kFloat32) return "float32";
  if (!on_host()) return "bfloat16";
  if (bf16_products) return cat("bfloat16 by ", cpu_bf16::instructions());
  return "float32 (not every CPU has instructions for bfloat16)";
}

Dtype parse_dtype(const std::string& name) {
  if (name == "float32") return Dtype::kFloat32;
  if (name == "bfloat16" || name == "bf16") return Dtype::kBfloat16;
  fail("unknown element type '", name, "'; expected float32 or bfloat16 (or bf16)");
}

Dtype parse_teacher_dtype(const std::string& name) {
  return parse_dtype(name == "float16" ? "bfloat16" : name);
}

ComputeDevice::ComputeDevice(Session& session, const std::string& name, const std::string& conv)
    : ComputeDevice(choose_device(session, name, conv), session.threads(),
                    name == "auto" || name == "cuda" ? own_gpu(session, name) : 0, conv) {
  // Pictures do not depend on which rank draws them.
  if (session.any(!cpu_bf16::instructions())) compute_.bf16_products = nullptr;
  if (!device_) return;
  collectives_ = make_device_collectives(session, *device_);
  compute_.collectives = collectives_.get();
}

ComputeDevice::ComputeDevice(const std::string& name, int threads, int gpu, const std::string& conv,
                             int compute_capability)
    : compute_(Queue{threads}) {
  check_conv(name, conv);
  const bool cuda = name == "cuda";
  if (cuda)
    device_ = make_cuda_device(gpu);
  else if (name == "simt")
    device_ = make_simt_device({.compute_capability = compute_capability});
  else if (name != "cpu")
    fail("unknown device '", name, "'; expected cpu, cuda or simt");
  const Ops* const bf16_products = cpu_bf16::instructions() ? &kCpuBf16Ops : nullptr;
  compute_.bf16_products = bf16_products;
  if (!device_) return;
  stream_ = device_->make_stream();
  compute_ = !cuda           ? Compute(threads, *device_, *stream_, simt_ops<float>(), simt_ops<bf16>())
             : conv == "own" ? Compute(threads, *device_, *stream_, cuda_ops<float>(), cuda_ops<bf16>())
                             : Compute(threads, *device_, *stream_, cudnn_ops<float>(), cudnn_ops<bf16>());
  compute_.bf16_products = bf16_products;
}

}  // namespace wandistill
