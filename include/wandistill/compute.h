// Where a rank computes: the host or a device, and the ops there.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "wandistill/device_collectives.h"
#include "wandistill/dtype.h"
#include "wandistill/gpu.h"
#include "wandistill/op_memory.h"
#include "wandistill/ops.h"
#include "wandistill/session.h"
#include "wandistill/wan_transformer.h"

namespace wandistill {

/// A queue with the ops that may be put on it.
struct Compute : Queue {
  /// On the host, in float32.
  Compute(const Queue& host) : Queue(host) {}  // NOLINT: a queue without a stream is that
  Compute(int threads, Device& device, Stream& stream, const OpsOf<float>& ops, const OpsOf<bf16>& bf16_ops)
      : Queue{threads, &stream}, device(&device), ops(&ops), bf16_ops(&bf16_ops) {}

  bool on_host() const { return !stream; }
  /// For what is not ported to devices, or not worth it.
  Queue host() const { return {threads}; }
  /// This rank's CPU cores, for transformers too.
  Compute on_cpu() const {
    Compute cpu(host());
    cpu.bf16_products = bf16_products;
    return cpu;
  }
  /// The element type that a model asked for in `dtype` gets: the host keeps everything in float32.
  Dtype element(Dtype dtype) const { return on_host() ? Dtype::kFloat32 : dtype; }
  WanTransformer transformer(const WanConfig& config, Dtype dtype) const {
    if (on_host() && bf16_products && dtype == Dtype::kBfloat16)
      return WanTransformer(config, *bf16_products);
    return element(dtype) == Dtype::kFloat32 ? WanTransformer(config, *ops)
                                             : WanTransformer(config, *bf16_ops);
  }

  /// For the log: what the products of a transformer asked for in `dtype` are computed in.
  std::string products(Dtype dtype) const;

  template <class T>
  const OpsOf<T>& table() const {
    if constexpr (std::is_same_v<T, float>)
      return *ops;
    else
      return *bf16_ops;
  }

  /// Bytes that this rank may plan with: half of the GPU's free memory, or its share of half of the host's.
  int64_t memory_budget(const Session& session) const;

  Device* device = nullptr;
  DeviceCollectives* collectives = nullptr;  // null too in a program of one process
  const OpsOf<float>* ops = &kCpuOps;
  const OpsOf<bf16>* bf16_ops = nullptr;
  /// For transformers on the host that are asked for in bfloat16; null: they compute in float32.
  const Ops* bf16_products = nullptr;
};

/// The host's values where the ops work, as T (float or bf16).
template <class T>
OpBuffer<T> place(const Compute& compute, Buffer<float> values);

/// A tensor where the ops work, in the element type that it was asked for there.
class OpTensor {
 public:
  OpTensor() = default;
  OpTensor(const Compute& compute, Dtype dtype, Buffer<float> values);
  /// T must be that element type.
  template <class T>
  const T* as() const {
    if constexpr (std::is_same_v<T, float>)
      return floats_.data();
    else
      return halves_.data();
  }
  int64_t size() const { return floats_.size() + halves_.size(); }

 private:
  OpBuffer<float> floats_;
  OpBuffer<bf16> halves_;
};

/// A model's weights where the ops work, in its element type.
class ModelWeights {
 public:
  ModelWeights() = default;
  /// read(parameter, out): one parameter's values as floats. Beside the weights, the largest parameter's
  /// floats are on the host while this runs, if the weights are elsewhere.
  ModelWeights(const Compute& compute, Dtype dtype, const ParameterLayout& layout,
               const std::function<void(const ParameterInfo& parameter, float* out)>& read);
  /// Of floats [layout.total()] where the ops work: refers to them, or rounds them.
  const void* data() const {
    return floats_.empty() ? static_cast<const void*>(halves_.data()) : floats_.data();
  }
  bool empty() const { return floats_.empty() && halves_.empty(); }

 private:
  OpBuffer<float> floats_;
  OpBuffer<bf16> halves_;
};

/// The transformer's weights in `folder`, as load_wan_weights() reads them.
ModelWeights load_wan_weights(const std::filesystem::path& folder, const ParameterLayout& layout,
                              const Compute& compute, Dtype dtype);

/// "float32", or "bfloat16", also written "bf16"; anything else is an error naming these.
Dtype parse_dtype(const std::string& name);

/// --teacher_dtype: the same, and "float16", which is computed in bfloat16: as large, with float32's range.
Dtype parse_teacher_dtype(const std::string& name);

/// The device of this rank, chosen by name.
class ComputeDevice {
 public:
  /// auto: GPUs if every rank has one, else the CPU; cpu; cuda: a GPU of its own for every rank; simt: the
  /// CUDA kernels' source, run by the CPU. conv: the VAE decoder's convolution, own or (on GPUs) cudnn.
  /// Collective. CollectiveError if there is no such device, or it has no such convolution.
  ComputeDevice(Session& session, const std::string& name, const std::string& conv);
  /// Of a program of one process: the GPU of this number. compute_capability: of the one that simt stands
  /// for.
  ComputeDevice(const std::string& name, int threads, int gpu, const std::string& conv = "own",
                int compute_capability = 80);

  const Compute& compute() const { return compute_; }
  /// Null on the host.
  Device* device() const { return device_.get(); }
  /// Of all ranks' devices; null on the host.
  DeviceCollectives* collectives() const { return collectives_.get(); }
  /// For the log.
  std::string name() const { return device_ ? device_->name() : "CPU"; }

 private:
  std::unique_ptr<Device> device_;
  std::unique_ptr<Stream> stream_;
  std::unique_ptr<DeviceCollectives> collectives_;
  Compute compute_;
};

}  // namespace wandistill
