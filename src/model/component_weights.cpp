#include "wandistill/component_weights.h"

#include <algorithm>
#include <chrono>
#include <functional>
#include <tuple>

#include "src/io/read_tensors.h"
#include "wandistill/error.h"
#include "wandistill/memory.h"

namespace wandistill {
namespace {

constexpr int64_t kChunkBytes = int64_t{16} << 20;  // that go to a device at once
constexpr int kReaders = 4;  // threads that read at least: a file system serves several at once

bool is_mappable(const TensorInfo& tensor) {
  return tensor.dtype == DType::F32 && reinterpret_cast<uintptr_t>(tensor.data) % alignof(float) == 0;
}

void collectively(Session* session, const std::function<void()>& work) {
  session ? session->collectively(work) : work();
}

/// The part of a rank of so many: neighbours in the files, by bytes.
std::vector<TensorPiece> own_part(std::vector<TensorPiece> pieces, int rank, int ranks) {
  std::sort(pieces.begin(), pieces.end(), [](const TensorPiece& a, const TensorPiece& b) {
    const auto place = [](const TensorPiece& p) {
      return std::tuple(std::cref(p.tensor->file), p.tensor->begin, p.first);
    };
    return place(a) < place(b);
  });
  if (ranks == 1) return pieces;
  int64_t total = 0, before = 0;
  const auto bytes = [](const TensorPiece& piece) { return piece.count * dtype_size(piece.tensor->dtype); };
  for (const TensorPiece& piece : pieces) total += bytes(piece);
  std::erase_if(pieces, [&](const TensorPiece& piece) {
    const int64_t reader = before * ranks / std::max<int64_t>(1, total);
    before += bytes(piece);
    return reader != rank;
  });
  return pieces;
}

}  // namespace

ComponentWeights::ComponentWeights(Session* session, std::shared_ptr<const SafetensorsFolder> files,
                                   const std::vector<TensorSpec>& tensors, const Compute& compute,
                                   Dtype dtype, Place place, const std::string& what)
    : files_(std::move(files)) {
  const auto start = std::chrono::steady_clock::now();
  const bool narrow = compute.element(dtype) == Dtype::kBfloat16;
  int64_t offset = 0;
  for (const TensorSpec& spec : tensors) {
    tensors_.push_back(&files_->expect(spec.name, spec.shape));
    offsets_.push_back(offset);
    offset += element_count(spec.shape) * (narrow ? 2 : 4);
  }
  offsets_.push_back(offset);
  if (compute.on_host() && place == Place::kOps &&
      std::all_of(tensors_.begin(), tensors_.end(),
                  [](const auto* tensor) { return is_mappable(*tensor); })) {
    mapped_ = files_;
    warm(session, compute.threads);
  } else if (narrow) {
    load<bf16>(session, compute, place, what);
  } else {
    load<float>(session, compute, place, what);
  }
  if (session) figures_.bytes = session->sum(figures_.bytes);
  figures_.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

const void* ComponentWeights::at(size_t tensor) const {
  return mapped_ ? static_cast<const void*>(tensors_[tensor]->data) : flat() + offsets_[tensor];
}

/// Brings the files into the system's cache, if that has room for them: faster than page by page.
void ComponentWeights::warm(Session* session, int threads) {
  std::vector<TensorPiece> pieces;
  int64_t bytes = 0;
  for (const TensorInfo* tensor : tensors_) {
    const int64_t count = element_count(tensor->shape);
    bytes += count * int64_t(sizeof(float));
    for (int64_t first = 0; first < count; first += kPieceElements)
      pieces.push_back({tensor, first, std::min(kPieceElements, count - first), nullptr});
  }
  if (bytes > available_memory()) return;
  pieces =
      own_part(std::move(pieces), session ? session->local_rank() : 0, session ? session->local_size() : 1);
  collectively(session, [&] { figures_.bytes += read_tensors<float>(pieces, std::max(threads, kReaders)); });
}

template <class T>
void ComponentWeights::load(Session* session, const Compute& compute, Place place, const std::string& what) {
  const int threads = std::max(compute.threads, kReaders);
  const int64_t total = offsets_.back(), size = sizeof(T);
  const bool through = place == Place::kOps && !compute.on_host();
  // For a device two chunks of the node's memory in turns: while one is filled the other is on its way.
  const int64_t chunk = through ? std::min(kChunkBytes, total) : total;
  if (through) placed_ = OpBuffer<char>(compute, total);
  NodeMemory memory(session, through ? 2 * chunk : total, what);
  size_t tensor = 0;
  for (int64_t begin = 0, turn = 0; begin < total; begin += chunk, ++turn) {
    const int64_t end = std::min(total, begin + chunk);
    char* const to = memory.data() + (through ? turn % 2 * chunk : 0);
    while (offsets_[tensor + 1] <= begin) ++tensor;
    std::vector<TensorPiece> pieces;
    for (size_t i = tensor; i < tensors_.size() && offsets_[i] < end; ++i) {
      const int64_t last = (std::min(end, offsets_[i + 1]) - offsets_[i]) / size;
      for (int64_t first = (std::max(begin, offsets_[i]) - offsets_[i]) / size; first < last;
           first += kPieceElements)
        pieces.push_back({tensors_[i], first, std::min(kPieceElements, last - first),
                          to + offsets_[i] + first * size - begin});
    }
    pieces = own_part(std::move(pieces), memory.rank(), memory.ranks());
    collectively(session, [&] {
      figures_.bytes += read_tensors<T>(pieces, threads);
      memory.sync();
    });
    memory.sync();
    if (through) upload(compute, placed_.data() + begin, to, end - begin);
  }
  if (!through) node_ = std::move(memory);
}

}  // namespace wandistill
