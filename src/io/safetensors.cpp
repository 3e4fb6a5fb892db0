#include "wandistill/safetensors.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>

#include "wandistill/error.h"
#include "wandistill/file.h"
#include "wandistill/half.h"
#include "wandistill/suggest.h"

namespace wandistill {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

static_assert(std::endian::native == std::endian::little, "safetensors data is little-endian");

// The limit of the reference implementation.
constexpr int64_t kMaxHeader = 100'000'000;

/// What read() converts.
constexpr DType kReadable[] = {DType::F32, DType::F16, DType::BF16, DType::F64};

struct DTypeRow {
  DType dtype;
  const char* name;
  int64_t size;
};
constexpr DTypeRow kDTypes[] = {
    {DType::F64, "F64", 8},   {DType::F32, "F32", 4},         {DType::F16, "F16", 2},
    {DType::BF16, "BF16", 2}, {DType::I64, "I64", 8},         {DType::I32, "I32", 4},
    {DType::I16, "I16", 2},   {DType::I8, "I8", 1},           {DType::U64, "U64", 8},
    {DType::U32, "U32", 4},   {DType::U16, "U16", 2},         {DType::U8, "U8", 1},
    {DType::BOOL, "BOOL", 1}, {DType::F8_E4M3, "F8_E4M3", 1}, {DType::F8_E5M2, "F8_E5M2", 1},
};

const DTypeRow& row_of(DType dtype) {
  return *std::find_if(std::begin(kDTypes), std::end(kDTypes), [&](auto& row) { return row.dtype == dtype; });
}

/// out[i] = convert(element i of a possibly unaligned array of From).
template <class From, class Convert>
void convert_all(const std::byte* data, int64_t count, float* out, Convert convert) {
  for (int64_t i = 0; i < count; ++i) {
    From element;
    std::memcpy(&element, data + i * static_cast<int64_t>(sizeof(From)), sizeof(From));
    out[i] = convert(element);
  }
}

/// A non-negative integer out of a header.
int64_t get_size(const json& value, const std::string& where) {
  if (!value.is_number_unsigned() || value.get<uint64_t>() > INT64_MAX)
    fail(where, ": expected a non-negative integer, found ", value.dump());
  return static_cast<int64_t>(value.get<uint64_t>());
}

/// One tensor's entry, checked against the `data_size` bytes behind the header.
TensorInfo parse_entry(const json& entry, const std::string& where, int64_t data_size) {
  if (!entry.is_object() || !entry.contains("dtype") || !entry.contains("shape") ||
      !entry.contains("data_offsets"))
    fail(where, ": the header entry needs dtype, shape and data_offsets");
  TensorInfo info;
  const json& dtype = entry["dtype"];
  const auto* row = std::find_if(std::begin(kDTypes), std::end(kDTypes), [&](auto& r) {
    return dtype.is_string() && dtype.get_ref<const std::string&>() == r.name;
  });
  if (row == std::end(kDTypes)) fail(where, ": unknown dtype ", dtype.dump());
  info.dtype = row->dtype;

  const json& shape = entry["shape"];
  if (!shape.is_array()) fail(where, ": shape is not a list: ", shape.dump());
  int64_t bytes = row->size;
  for (const json& size : shape) {
    info.shape.push_back(get_size(size, where + ": shape"));
    if (__builtin_mul_overflow(bytes, info.shape.back(), &bytes))
      fail(where, ": impossible shape ", shape.dump());
  }

  const json& offsets = entry["data_offsets"];
  if (!offsets.is_array() || offsets.size() != 2)
    fail(where, ": data_offsets is not a pair: ", offsets.dump());
  info.begin = get_size(offsets[0], where + ": data_offsets");
  info.end = get_size(offsets[1], where + ": data_offsets");
  if (info.begin > info.end || info.end > data_size)
    fail(where, ": data_offsets ", offsets.dump(), " lie outside of the file's ", data_size,
         " bytes of data; the file is damaged or incomplete");
  if (info.end - info.begin != bytes)
    fail(where, ": ", row->name, " of shape ", shape_text(info.shape), " takes ", bytes,
         " bytes, but data_offsets ", offsets.dump(), " hold ", info.end - info.begin);
  return info;
}

/// The tensors of one mapped file; byte ranges made absolute.
std::map<std::string, TensorInfo> parse_file(const fs::path& path, const MappedFile& file) {
  const std::string name = path.string();
  uint64_t length = 0;
  if (file.size() < 8) fail(name, ": not a safetensors file: only ", file.size(), " bytes long");
  std::memcpy(&length, file.data(), 8);
  const int64_t room = std::min(file.size() - 8, kMaxHeader);
  if (length < 2 || length > static_cast<uint64_t>(room))
    fail(name, ": damaged safetensors header: it claims to be ", length, " bytes long, possible are 2 to ",
         room, " in this file of ", file.size(), " bytes");
  const char* text = reinterpret_cast<const char*>(file.data()) + 8;
  json header;
  try {
    header = json::parse(text, text + length);
  } catch (const json::exception& error) {
    fail(name, ": damaged safetensors header: ", error.what());
  }
  if (!header.is_object()) fail(name, ": damaged safetensors header: not a JSON object");

  const int64_t data_start = 8 + static_cast<int64_t>(length), data_size = file.size() - data_start;
  std::map<std::string, TensorInfo> tensors;
  for (const auto& [tensor, entry] : header.items()) {
    if (tensor == "__metadata__") continue;
    TensorInfo info = parse_entry(entry, name + ": tensor '" + tensor + "'", data_size);
    info.file = path;
    info.begin += data_start;
    info.end += data_start;
    info.data = file.data() + info.begin;
    tensors.emplace(tensor, std::move(info));
  }

  // The data must be covered exactly once, as the format demands.
  std::vector<std::pair<const std::string*, const TensorInfo*>> order;
  for (const auto& [tensor, info] : tensors) order.emplace_back(&tensor, &info);
  std::sort(order.begin(), order.end(), [](auto& a, auto& b) {
    return std::pair(a.second->begin, a.second->end) < std::pair(b.second->begin, b.second->end);
  });
  int64_t covered = data_start;
  for (const auto& [tensor, info] : order) {
    if (info->begin < covered) fail(name, ": tensor '", *tensor, "' overlaps the data of another tensor");
    if (info->begin > covered)
      fail(name, ": ", info->begin - covered, " bytes before tensor '", *tensor, "' belong to no tensor");
    covered = info->end;
  }
  if (covered != file.size())
    fail(name, ": ", file.size() - covered, " bytes after the last tensor belong to no tensor");
  return tensors;
}

}  // namespace

int64_t dtype_size(DType dtype) {
  return row_of(dtype).size;
}
std::string dtype_name(DType dtype) {
  return row_of(dtype).name;
}

MappedFile::MappedFile(const fs::path& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) fail(path.string(), ": cannot read: ", std::strerror(errno));
  struct stat status;
  void* mapping = MAP_FAILED;
  if (::fstat(fd, &status) == 0) {
    size_ = status.st_size;
    if (size_ > 0) mapping = ::mmap(nullptr, static_cast<size_t>(size_), PROT_READ, MAP_PRIVATE, fd, 0);
  }
  const int error = errno;
  ::close(fd);
  if (size_ == 0) fail(path.string(), ": the file is empty");
  if (mapping == MAP_FAILED) fail(path.string(), ": cannot map into memory: ", std::strerror(error));
  data_ = static_cast<const std::byte*>(mapping);
}

MappedFile::~MappedFile() {
  ::munmap(const_cast<std::byte*>(data_), static_cast<size_t>(size_));
}

SafetensorsFolder::SafetensorsFolder(const fs::path& folder, const std::string& stem) : folder_(folder) {
  if (!fs::is_directory(folder)) fail(folder.string(), ": there is no such folder");
  const fs::path index = folder / (stem + ".safetensors.index.json");
  if (!fs::exists(index)) {
    const fs::path single = folder / (stem + ".safetensors");
    if (!fs::exists(single))
      fail(folder.string(), ": found neither ", single.filename().string(), " nor ",
           index.filename().string());
    add_file(single);
    return;
  }

  json content;
  try {
    content = json::parse(read_file(index));
  } catch (const json::exception& error) {
    fail(index.string(), ": not valid JSON: ", error.what());
  }
  if (!content.is_object() || !content.contains("weight_map") || !content["weight_map"].is_object() ||
      content["weight_map"].empty())
    fail(index.string(), ": there is no weight_map (tensor name to file name)");
  std::map<std::string, std::string> shard_of;
  std::set<std::string> shards;
  for (const auto& [tensor, file] : content["weight_map"].items()) {
    if (!file.is_string() || fs::path(file.get<std::string>()).filename() != file.get<std::string>())
      fail(index.string(), ": weight_map: tensor '", tensor, "': ", file.dump(), " is not a file name");
    shards.insert(shard_of[tensor] = file.get<std::string>());
  }
  for (const std::string& shard : shards) {
    if (!fs::exists(folder / shard))
      fail((folder / shard).string(), ": this shard, listed in ", index.filename().string(), ", is missing");
    add_file(folder / shard);
  }
  for (const auto& [tensor, shard] : shard_of) {
    const auto found = tensors_.find(tensor);
    if (found == tensors_.end() || found->second.file.filename() != shard)
      fail((folder / shard).string(), ": tensor '", tensor, "' is not in this shard, though ",
           index.filename().string(), " says so");
  }
}

void SafetensorsFolder::add_file(const fs::path& file) {
  files_.push_back(std::make_unique<MappedFile>(file));
  for (auto& [name, info] : parse_file(file, *files_.back())) {
    const auto [place, is_new] = tensors_.emplace(name, info);
    if (!is_new)
      fail(file.string(), ": tensor '", name, "' is also in ", place->second.file.filename().string());
  }
}

std::vector<std::string> SafetensorsFolder::names() const {
  std::vector<std::string> all;
  for (const auto& [name, info] : tensors_) all.push_back(name);
  return all;
}

const TensorInfo& SafetensorsFolder::info(const std::string& name) const {
  const auto found = tensors_.find(name);
  if (found == tensors_.end())
    fail(folder_.string(), ": tensor '", name, "' is missing from the safetensors files",
         did_you_mean(name, names()));
  return found->second;
}

const TensorInfo& SafetensorsFolder::expect(const std::string& name, const Shape& expected_shape) const {
  const TensorInfo& tensor = info(name);
  if (tensor.shape != expected_shape)
    fail(tensor.file.string(), ": tensor '", name, "': expected shape ", shape_text(expected_shape),
         ", found ", shape_text(tensor.shape));
  if (std::ranges::find(kReadable, tensor.dtype) == std::end(kReadable))
    fail(tensor.file.string(), ": tensor '", name, "': expected F32, F16, BF16 or F64, found ",
         dtype_name(tensor.dtype));
  return tensor;
}

void SafetensorsFolder::read(const std::string& name, const Shape& expected_shape, float* out) const {
  const TensorInfo& tensor = expect(name, expected_shape);
  convert(name, tensor, 0, element_count(tensor.shape), out);
}

void SafetensorsFolder::read_row(const std::string& name, int64_t row, float* out) const {
  const TensorInfo& tensor = info(name);
  WD_REQUIRE(!tensor.shape.empty() && row >= 0 && row < tensor.shape[0]);
  const int64_t size = element_count(tensor.shape) / tensor.shape[0];
  convert(name, tensor, row * size, size, out);
}

void SafetensorsFolder::convert(const std::string& name, const TensorInfo& tensor, int64_t first,
                                int64_t count, float* out) {
  const std::byte* from = tensor.data + first * dtype_size(tensor.dtype);
  switch (tensor.dtype) {
    case DType::F32:
      std::memcpy(out, from, static_cast<size_t>(count) * 4);
      break;
    case DType::F64:
      convert_all<double>(from, count, out, [](double x) { return static_cast<float>(x); });
      break;
    case DType::F16:
      convert_all<fp16>(from, count, out, [](fp16 x) { return to_float(x); });
      break;
    case DType::BF16:
      convert_all<bf16>(from, count, out, [](bf16 x) { return to_float(x); });
      break;
    default:
      fail(tensor.file.string(), ": tensor '", name, "': expected F32, F16, BF16 or F64, found ",
           dtype_name(tensor.dtype));
  }
}

void SafetensorsFolder::refuse_unknown(const std::set<std::string>& known,
                                       const std::function<bool(const std::string&)>& allowed) const {
  const std::string* first = nullptr;
  int64_t count = 0;
  for (const auto& [name, info] : tensors_) {
    if (known.contains(name) || allowed(name)) continue;
    if (first == nullptr) first = &name;
    ++count;
  }
  if (first == nullptr) return;
  fail(info(*first).file.string(), ": unknown tensor '", *first, "'",
       count > 1 ? cat(" and ", count - 1, " more") : "",
       ": the model that the config describes has no such tensor",
       did_you_mean(*first, {known.begin(), known.end()}));
}

void write_safetensors(const fs::path& path, const std::vector<NamedTensor>& tensors,
                       const std::map<std::string, std::string>& metadata) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  int64_t offset = 0;
  for (const NamedTensor& tensor : tensors) {
    if (header.contains(tensor.name))
      fail(path.string(), ": tensor '", tensor.name, "' would be written twice");
    const int64_t end = offset + element_count(tensor.shape) * 4;
    header[tensor.name] = {{"dtype", "F32"}, {"shape", tensor.shape}, {"data_offsets", {offset, end}}};
    offset = end;
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const uint64_t length = text.size();

  AtomicFile file(path);
  file.write(&length, sizeof length);
  file.write(text);
  for (const NamedTensor& tensor : tensors)
    file.write(tensor.data, static_cast<size_t>(element_count(tensor.shape)) * 4);
  file.commit();
}

}  // namespace wandistill
