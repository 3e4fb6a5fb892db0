#include "src/teacher/streamed_expert.h"

namespace wandistill {
namespace {

Range embedders(const ParameterLayout& layout) {
  return layout.gradient_order().back();
}
Range head(const ParameterLayout& layout) {
  return layout.gradient_order().front();
}
int64_t layers(const ParameterLayout& layout) {
  return int64_t(layout.gradient_order().size()) - 2;
}

}  // namespace

StreamMemory::StreamMemory(const ParameterLayout& layout, int64_t element_bytes, const Compute& compute)
    : outside(compute, (embedders(layout).size() + head(layout).size()) * element_bytes),
      copies(compute.device->make_stream()) {
  for (int64_t i = 0; i < std::min<int64_t>(2, layers(layout)); ++i) {
    Slot& slot = slots[size_t(i)];
    slot.block = OpBuffer<char>(compute, layout.gradient_order()[1].size() * element_bytes);
    slot.landed = compute.device->make_event();
    slot.read = compute.device->make_event();
  }
  compute.stream->synchronize();  // the memory is the other stream's too
}

StreamedExpert::StreamedExpert(const ParameterLayout& layout, int64_t element_bytes, const char* source,
                               StreamMemory& memory)
    : embedders_(embedders(layout)),
      head_(head(layout)),
      layers_(layers(layout)),
      block_size_(layout.gradient_order()[1].size()),
      element_bytes_(element_bytes),
      source_(source),
      memory_(memory) {}

const void* StreamedExpert::at(const ParameterInfo& parameter) const {
  const int64_t offset = parameter.offset;
  if (offset < embedders_.end) return memory_.outside.data() + offset * element_bytes_;
  if (offset >= head_.begin)
    return memory_.outside.data() + (embedders_.size() + offset - head_.begin) * element_bytes_;
  const int64_t in_blocks = offset - embedders_.end;
  return memory_.slots[size_t(in_blocks / block_size_ % 2)].block.data() +
         in_blocks % block_size_ * element_bytes_;
}

void StreamedExpert::begin_pass(const Queue& queue) {
  if (memory_.outside_of != this) {
    memory_.outside_of = this;
    char* const to = memory_.outside.data();
    queue.stream->copy(to, source_, embedders_.size() * element_bytes_);
    queue.stream->copy(to + embedders_.size() * element_bytes_, source_ + head_.begin * element_bytes_,
                       head_.size() * element_bytes_);
  }
  for (int64_t block = 0; block < std::min<int64_t>(2, layers_); ++block) fetch(block);
}

void StreamedExpert::begin_block(int64_t block, const Queue& queue) {
  queue.stream->wait(*memory_.slots[size_t(block % 2)].landed);
}

void StreamedExpert::end_block(int64_t block, const Queue& queue) {
  queue.stream->record(*memory_.slots[size_t(block % 2)].read);
  fetch(block + 2 < layers_ ? block + 2 : block % 2);
}

void StreamedExpert::fetch(int64_t block) {
  StreamMemory::Slot& slot = memory_.slots[size_t(block % 2)];
  if (slot.expert == this && slot.index == block) return;
  slot.expert = this;
  slot.index = block;
  Stream& copies = *memory_.copies;
  copies.wait(*slot.read);
  copies.copy(slot.block.data(), source_ + (embedders_.end + block * block_size_) * element_bytes_,
              block_size_ * element_bytes_);
  copies.record(*slot.landed);
}

}  // namespace wandistill
