#include "kernels/simt/tma.h"

#include <algorithm>
#include <cstring>

#include "kernels/simt/async_units.h"
#include "kernels/simt/mbarrier.h"
#include "kernels/simt/sanitizers.h"
#include "wandistill/error.h"

namespace wandistill::simt {

TensorMap make_tensor_map(const bf16* tensor, std::initializer_list<TileDimension> dimensions) {
  TensorMap map{tensor, static_cast<int>(dimensions.size()), {}};
  if (map.rank < 2 || map.rank > 5) fail("SIMT: a tensor map has 2 to 5 dimensions, not ", map.rank);
  std::copy(dimensions.begin(), dimensions.end(), map.dimensions.begin());
  if (reinterpret_cast<uintptr_t>(tensor) % 16 != 0)
    fail("SIMT: a tensor map's tensor is not aligned to 16 bytes");
  if (map.dimensions[0].box != 64 || map.dimensions[0].stride != 1)
    fail("SIMT: a tensor map's rows are 64 contiguous elements, swizzled in 128 bytes");
  for (int i = 0; i < map.rank; ++i) {
    const TileDimension& d = map.dimensions[static_cast<size_t>(i)];
    if (d.size < 1 || d.size > int64_t{1} << 32 || d.box < 1 || d.box > 256 || d.stride < 0 ||
        d.stride >= int64_t{1} << 39 || (i > 0 && d.stride % 8 != 0))
      fail("SIMT: no tensor map takes dimension ", i, " of size ", d.size, ", stride ", d.stride, ", box ",
           d.box);
  }
  return map;
}

uint32_t shared_address(const void* in_shared) {
  engine::Block& block = *engine::current->block;
  const auto offset = static_cast<const unsigned char*>(in_shared) -
                      static_cast<const unsigned char*>(block.dynamic_shared());
  if (offset < 0 || static_cast<size_t>(offset) > block.dynamic_bytes())
    block.fail("an address that is not in dynamic shared memory, behind", engine::current->where);
  return engine::kDynamicAddress + static_cast<uint32_t>(offset);
}

namespace engine {
namespace {

struct [[gnu::may_alias]] Piece {
  uint16_t element[8];
};
constexpr int kRowBytes = 128;

int64_t rows_of(const TensorMap& map) {
  int64_t rows = 1;
  for (int i = 1; i < map.rank; ++i) rows *= map.dimensions[static_cast<size_t>(i)].box;
  return rows;
}

void store(Block& block, unsigned char* to, const Piece& piece) {
  note_write16(to);
  *reinterpret_cast<Piece*>(to) = piece;
  const auto offset = to - static_cast<unsigned char*>(block.dynamic_shared());
  *reinterpret_cast<Piece*>(block.async().view.get() + offset) = piece;
}

/// Row `row` of the box; null: outside of the tensor.
const bf16* find_row(const BulkCopy& copy, int64_t row) {
  const bf16* at = copy.map.tensor;
  for (int i = 1; i < copy.map.rank; ++i) {
    const TileDimension& d = copy.map.dimensions[static_cast<size_t>(i)];
    const int64_t index = copy.first[static_cast<size_t>(i)] + row % d.box;
    row /= d.box;
    if (index < 0 || index >= d.size) return nullptr;
    at += index * d.stride;
  }
  return at;
}

void write_box(Block& block, const BulkCopy& copy) {
  const int64_t size = copy.map.dimensions[0].size;
  for (int64_t row = 0; row < rows_of(copy.map); ++row) {
    const bf16* from = find_row(copy, row);
    for (int column = 0; column < 64; column += 8) {
      Piece piece{};
      for (int i = 0; i < 8 && from; ++i) {
        const int64_t index = int64_t{copy.first[0]} + column + i;
        if (index < 0 || index >= size) continue;
        note_read2(from + index);
        piece.element[i] = from[index].bits;
      }
      store(block, copy.to + swizzled(static_cast<uint32_t>(row * kRowBytes + column * 2)), piece);
    }
  }
}

}  // namespace

void issue_bulk_copy(void* to, const TensorMap& map, uint64_t* barrier, int rank,
                     const std::array<int, 5>& first, const Where& where) {
  Thread& me = *current;
  Block& block = *me.block;
  auto* const bytes = static_cast<unsigned char*>(to);
  const int64_t size = rows_of(map) * kRowBytes;
  if (reinterpret_cast<uintptr_t>(to) % 1024 != 0)
    block.fail("tma_load: a swizzled tile is not aligned to 1024 bytes, behind", where);
  if (shared_address(to) - kDynamicAddress + static_cast<size_t>(size) > block.dynamic_bytes())
    block.fail("tma_load: a box that does not fit into shared memory, behind", where);
  if (rank != map.rank) block.fail("tma_load: a place of another rank than the tensor map's, behind", where);
  show_fenced_stores(block);
  constexpr uint16_t kOnes = 0xFFFF;
  for (int64_t i = 0; i < size; i += 16)
    store(block, bytes + i, {{kOnes, kOnes, kOnes, kOnes, kOnes, kOnes, kOnes, kOnes}});
  IgnoreAccesses ignore(me.ignore_depth);
  Mbarrier& b = mbarrier_at(barrier, where);
  if (!b.fenced)
    block.fail("tma_load: no mbarrier_init_fence() behind its mbarrier's mbarrier_init(), behind", where);
  release(&b.issue_order);
  block.async().copies.push_back({bytes, map, &b, first});
  if (block.options->early_copies) land_a_copy(block, block.async().copies.size() - 1);
}

void land_a_copy(Block& block, size_t which) {
  std::deque<BulkCopy>& copies = block.async().copies;
  const BulkCopy copy = copies[which];
  copies.erase(copies.begin() + static_cast<std::ptrdiff_t>(which));
  {
    const ActAs as(copy.barrier->identity);
    acquire(&copy.barrier->issue_order);
    write_box(block, copy);
    release(&copy.barrier->order[copy.barrier->phase]);
  }
  complete_bytes(block, *copy.barrier, rows_of(copy.map) * kRowBytes);
}

void fence_stores() {
  current->block->async().stores_fenced = true;
}

void show_fenced_stores(Block& block) {
  AsyncUnits& units = block.async();
  IgnoreAccesses ignore(current->ignore_depth);
  if (units.stores_fenced) std::memcpy(units.view.get(), block.dynamic_shared(), block.dynamic_bytes());
  units.stores_fenced = false;
}

}  // namespace engine
}  // namespace wandistill::simt
