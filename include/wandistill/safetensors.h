// Weights in safetensors files: read through memory mapping, shards included; written as float32.
// Format: https://huggingface.co/docs/safetensors (8 bytes header length, JSON header, data).
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "wandistill/shape.h"

namespace wandistill {

enum class DType { F64, F32, F16, BF16, I64, I32, I16, I8, U64, U32, U16, U8, BOOL, F8_E4M3, F8_E5M2 };

/// Bytes of one element.
int64_t dtype_size(DType dtype);
/// Its name in a safetensors header ("BF16").
std::string dtype_name(DType dtype);

/// A read-only mapping of a whole file.
class MappedFile {
 public:
  /// Error where the file cannot be opened or mapped.
  explicit MappedFile(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  const std::byte* data() const { return data_; }
  int64_t size() const { return size_; }

 private:
  const std::byte* data_ = nullptr;
  int64_t size_ = 0;
};

/// Where one tensor lies.
struct TensorInfo {
  std::filesystem::path file;
  DType dtype = DType::F32;
  Shape shape;
  int64_t begin = 0, end = 0;       ///< byte range in the file
  const std::byte* data = nullptr;  ///< in the mapping, dtype's own format; may be unaligned
};

/// All tensors of one component folder ("transformer"): either <stem>.safetensors or the shards that
/// <stem>.safetensors.index.json lists (the index wins where both exist). Opening maps the files and checks
/// the headers completely; no tensor data is touched. Errors name the file and the tensor.
class SafetensorsFolder {
 public:
  /// stem: "diffusion_pytorch_model" (diffusers) or "model" (transformers).
  SafetensorsFolder(const std::filesystem::path& folder, const std::string& stem);

  bool has(const std::string& name) const { return tensors_.contains(name); }
  /// Error naming the folder and the nearest existing name where there is no such tensor.
  const TensorInfo& info(const std::string& name) const;
  /// The same; Error as read() has it where it could not be read with this shape.
  const TensorInfo& expect(const std::string& name, const Shape& expected_shape) const;
  /// Converts the tensor to float32 into out (as many floats as the shape says). F32, F16, BF16 and F64 are
  /// read; another dtype or another shape than expected is an error naming file, tensor, expected and found.
  void read(const std::string& name, const Shape& expected_shape, float* out) const;
  /// The same for one index of the first dimension.
  void read_row(const std::string& name, int64_t row, float* out) const;
  /// All tensor names, sorted.
  std::vector<std::string> names() const;
  const std::map<std::string, TensorInfo>& tensors() const { return tensors_; }
  const std::filesystem::path& folder() const { return folder_; }
  /// Error for a tensor that is neither known nor allowed, with its file and how many more there are.
  void refuse_unknown(const std::set<std::string>& known,
                      const std::function<bool(const std::string&)>& allowed) const;

 private:
  void add_file(const std::filesystem::path& file);
  static void convert(const std::string& name, const TensorInfo& tensor, int64_t first, int64_t count,
                      float* out);

  std::filesystem::path folder_;
  std::vector<std::unique_ptr<MappedFile>> files_;
  std::map<std::string, TensorInfo> tensors_;
};

/// One tensor to write; data stays the caller's.
struct NamedTensor {
  std::string name;
  Shape shape;
  const float* data = nullptr;
};

/// Writes the tensors as F32 in the order given, atomically and streaming. The usual metadata is
/// {{"format", "pt"}}: transformers refuses files without it. Error on a repeated name.
void write_safetensors(const std::filesystem::path& path, const std::vector<NamedTensor>& tensors,
                       const std::map<std::string, std::string>& metadata = {{"format", "pt"}});

}  // namespace wandistill
