// A convolution as a graph of one operation (NVIDIA, "cuDNN backend API", graph library).
#include "src/gpu/cudnn_convolutions.h"

#include <algorithm>
#include <vector>

#include "wandistill/error.h"

namespace wandistill {

void check_cudnn(cudnnStatus_t status, const char* call, const char* file, int line) {
  if (status == CUDNN_STATUS_SUCCESS) return;
  char words[512] = "";
  cudnnGetLastErrorString(words, sizeof words);
  fail("cuDNN: ", call, ": ", cudnnGetErrorString(status), " (", words, ") at ", file, ":", line);
}

namespace {

enum : int64_t { kX = 1, kWeight, kY };  // the tensors' names in the graph

/// [n, h, w, c] in memory. cuDNN's dimensions are in the order n, c, h, w; weights' n are outputs.
CudnnDescriptor make_tensor(int64_t name, cudnnDataType_t type, int64_t alignment, int64_t n, int64_t h,
                            int64_t w, int64_t c) {
  CudnnDescriptor tensor = make_descriptor(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
  set(tensor, CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, {name});
  set(tensor, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, {type});
  set(tensor, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, {alignment});
  set(tensor, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, {n, c, h, w});
  set(tensor, CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, {h * w * c, int64_t{1}, w * c, c});
  finalize(tensor);
  return tensor;
}

/// Stride 1, as much padding as keeps the size.
CudnnDescriptor make_convolution(int64_t kernel) {
  CudnnDescriptor convolution = make_descriptor(CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
  const int64_t one = 1, padding = kernel / 2;
  set(convolution, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, CUDNN_TYPE_INT64, {int64_t{2}});
  set(convolution, CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, {CUDNN_DATA_FLOAT});
  set(convolution, CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, {CUDNN_CROSS_CORRELATION});
  set(convolution, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, CUDNN_TYPE_INT64, {padding, padding});
  set(convolution, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, CUDNN_TYPE_INT64, {padding, padding});
  set(convolution, CUDNN_ATTR_CONVOLUTION_DILATIONS, CUDNN_TYPE_INT64, {one, one});
  set(convolution, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, CUDNN_TYPE_INT64, {one, one});
  finalize(convolution);
  return convolution;
}

/// What the heuristic proposes, best first.
std::vector<CudnnDescriptor> proposed_engines(const CudnnDescriptor& graph, cudnnBackendHeurMode_t mode) {
  const CudnnDescriptor heuristic = make_descriptor(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
  set(heuristic, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph);
  set(heuristic, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, {mode});
  if (cudnnBackendFinalize(heuristic.get()) != CUDNN_STATUS_SUCCESS) return {};  // it knows none
  const auto results = [&](int64_t room, cudnnBackendDescriptor_t* into) {
    int64_t count = 0;
    WD_CHECK_CUDNN(cudnnBackendGetAttribute(heuristic.get(), CUDNN_ATTR_ENGINEHEUR_RESULTS,
                                            CUDNN_TYPE_BACKEND_DESCRIPTOR, room, &count, into));
    return count;
  };
  std::vector<CudnnDescriptor> engines;
  std::vector<cudnnBackendDescriptor_t> raw;
  for (int64_t i = results(0, nullptr); i > 0; --i) {
    engines.push_back(make_descriptor(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR));
    raw.push_back(engines.back().get());
  }
  if (!engines.empty())
    engines.resize(static_cast<size_t>(results(static_cast<int64_t>(raw.size()), raw.data())));
  return engines;
}

/// False for what is not reproducible, or less precise than a sum of float products of what is in the
/// tensors: float on tensor cores is TF32.
bool exact(const CudnnDescriptor& engine_config, cudnnDataType_t type) {
  const CudnnDescriptor engine = make_descriptor(CUDNN_BACKEND_ENGINE_DESCRIPTOR);
  cudnnBackendDescriptor_t raw = engine.get();
  int64_t count = 0;
  WD_CHECK_CUDNN(cudnnBackendGetAttribute(engine_config.get(), CUDNN_ATTR_ENGINECFG_ENGINE,
                                          CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &count, &raw));
  cudnnBackendNumericalNote_t notes[CUDNN_NUMERICAL_NOTE_TYPE_COUNT];
  WD_CHECK_CUDNN(cudnnBackendGetAttribute(engine.get(), CUDNN_ATTR_ENGINE_NUMERICAL_NOTE,
                                          CUDNN_TYPE_NUMERICAL_NOTE, CUDNN_NUMERICAL_NOTE_TYPE_COUNT, &count,
                                          notes));
  return std::none_of(notes, notes + count, [&](cudnnBackendNumericalNote_t note) {
    return (note == CUDNN_NUMERICAL_NOTE_TENSOR_CORE && type == CUDNN_DATA_FLOAT) ||
           note == CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS ||
           note == CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION || note == CUDNN_NUMERICAL_NOTE_FFT ||
           note == CUDNN_NUMERICAL_NOTE_WINOGRAD || note == CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC;
  });
}

/// The power of two that the address is a multiple of, at most the widest access.
int64_t alignment(const void* address) {
  const auto bits = reinterpret_cast<uintptr_t>(address) | 16;
  return static_cast<int64_t>(bits & -bits);
}

}  // namespace

CudnnConvolutions::CudnnConvolutions() {
  WD_CHECK_CUDNN(cudnnCreate(&handle_));
}

CudnnConvolutions::~CudnnConvolutions() {
  plans_.clear();
  cudnnDestroy(handle_);
}

CudnnDescriptor CudnnConvolutions::make_graph(const Kind& k) const {
  const CudnnDescriptor x = make_tensor(kX, k.type, k.alignment_x, 1, k.height, k.width, k.c_in);
  const CudnnDescriptor weight =
      make_tensor(kWeight, k.type, k.alignment_weight, k.c_out, k.kernel, k.kernel, k.c_in);
  const CudnnDescriptor y = make_tensor(kY, k.type, k.alignment_y, 1, k.height, k.width, k.c_out);
  const CudnnDescriptor convolution = make_convolution(k.kernel);
  const CudnnDescriptor operation = make_descriptor(CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR);
  set(operation, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC, convolution);
  set(operation, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, x);
  set(operation, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, weight);
  set(operation, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y, y);
  set(operation, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, CUDNN_TYPE_FLOAT, {1.0f});
  set(operation, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA, CUDNN_TYPE_FLOAT, {0.0f});
  finalize(operation);
  CudnnDescriptor graph = make_descriptor(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
  set(graph, CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, {handle_});
  set(graph, CUDNN_ATTR_OPERATIONGRAPH_OPS, operation);
  finalize(graph);
  return graph;
}

CudnnConvolutions::Plan CudnnConvolutions::make_plan(const Kind& k) const {
  const CudnnDescriptor graph = make_graph(k);
  const int64_t element = k.type == CUDNN_DATA_FLOAT ? 4 : 2, pixels = k.height * k.width;
  const int64_t most =
      kUnaskedWorkspace + element * (pixels * (k.c_in + k.c_out) + k.kernel * k.kernel * k.c_in * k.c_out);
  for (const cudnnBackendHeurMode_t mode : {CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_FALLBACK})
    for (CudnnDescriptor& engine : proposed_engines(graph, mode)) {
      if (!exact(engine, k.type)) continue;
      CudnnDescriptor plan = make_descriptor(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
      set(plan, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, {handle_});
      set(plan, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, engine);
      if (cudnnBackendFinalize(plan.get()) != CUDNN_STATUS_SUCCESS) continue;  // the next one, then
      int64_t count = 0, workspace = 0;
      WD_CHECK_CUDNN(cudnnBackendGetAttribute(plan.get(), CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE,
                                              CUDNN_TYPE_INT64, 1, &count, &workspace));
      if (workspace <= most) return {std::move(engine), std::move(plan), workspace};
    }
  fail("cuDNN ", cudnnGetVersion(), " has no exact convolution of ", k.height, " x ", k.width, " x ", k.c_in,
       " to ", k.c_out, " channels, kernel ", k.kernel,
       k.type == CUDNN_DATA_FLOAT ? ", float32" : ", bfloat16", ", with ", most >> 20,
       " MiB of workspace; --conv own does without");
}

void CudnnConvolutions::run(const CudnnConvolution& c, CudaStream& stream) {
  const Conv2dShape& s = c.shape;
  WD_REQUIRE(!s.upsample);
  const Kind kind = {s.height,      s.width, s.c_in,         s.c_out,
                     s.kernel,      c.type,  alignment(c.x), alignment(c.weight),
                     alignment(c.y)};
  auto known = plans_.find(kind);
  if (known == plans_.end()) known = plans_.emplace(kind, make_plan(kind)).first;
  const Plan& plan = known->second;
  DeviceBuffer<uint8_t> workspace(stream, plan.workspace);
  const CudnnDescriptor tensors = make_descriptor(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
  set(tensors, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64,
      {int64_t{kX}, int64_t{kWeight}, int64_t{kY}});
  set(tensors, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR,
      {const_cast<void*>(c.x), const_cast<void*>(c.weight), c.y});
  set(tensors, CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR,
      {static_cast<void*>(workspace.data())});
  finalize(tensors);
  WD_CHECK_CUDNN(cudnnSetStream(handle_, stream.get()));
  WD_CHECK_CUDNN(cudnnBackendExecute(handle_, plan.plan.get(), tensors.get()));
}

}  // namespace wandistill
