#include "kernels/simt/warpgroup.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/simt/sanitizers.h"
#include "kernels/simt/warp.h"

namespace wandistill::simt::engine {
namespace {

static_assert(sizeof(LaneProduct) <= sizeof(Slot));
constexpr int kRows = 16, kK = 16;  // of one warp's part

int warp_number() {
  return current->number / 32;
}
WarpUnit& unit() {
  return current->block->async().warps[static_cast<size_t>(warp_number())];
}
int lane_thread(int lane) {
  return warp_number() * 32 + lane;
}

/// Row and column of an accumulator's element i of a lane.
int row_of(int lane, int i) {
  return lane / 4 + i / 2 % 2 * 8;
}
int column_of(int lane, int i) {
  return i / 4 * 8 + lane % 4 * 2 + i % 2;
}

/// What a fence of this lane found in the registers; null: none has named them.
const std::byte* fenced_values(int lane, const void* at) {
  for (const FencedRegisters& fenced : current->block->async().fenced[static_cast<size_t>(lane_thread(lane))])
    if (fenced.registers.hold(at))
      return fenced.values.get() +
             (static_cast<const std::byte*>(at) - static_cast<const std::byte*>(fenced.registers.at));
  return nullptr;
}

bool named(int lane, const void* at) {
  const auto& list = current->block->async().named[static_cast<size_t>(lane_thread(lane))];
  return std::any_of(list.begin(), list.end(), [&](const Registers& r) { return r.hold(at); });
}

// ---- Operands

/// The address of the 16 bytes of `operand` that hold its element (row, k), as the manual's canonical layouts
/// say it for 128-byte swizzle.
uint32_t address_of(const SharedOperand& operand, int row, int k) {
  const auto field = [&](int bit) { return static_cast<uint32_t>(operand.descriptor >> bit & 0x3FFF) << 4; };
  const uint32_t start = field(0), leading = field(16), stride = field(32);
  const auto r = static_cast<uint32_t>(row), c = static_cast<uint32_t>(k);
  if (operand.rows_contiguous)
    return swizzled(start + r / 64 * leading + r % 64 / 8 * 16 + c % 8 * 128 + c / 8 * stride);
  return swizzled(start + r / 8 * stride + r % 8 * 128 + c / 8 * 16);
}

/// matrix [k][row - first] = rows [first, first + rows) of the operand; false if it leaves shared memory.
bool read_operand(const SharedOperand& operand, int first, int rows, float* matrix) {
  Block& block = *current->block;
  const int row_step = operand.rows_contiguous ? 8 : 1, k_step = operand.rows_contiguous ? 1 : 8;
  for (int row = 0; row < rows; row += row_step)
    for (int k = 0; k < kK; k += k_step) {
      const int64_t offset = int64_t{address_of(operand, first + row, k)} - kDynamicAddress;
      if (offset < 0 || offset + 16 > static_cast<int64_t>(block.dynamic_bytes())) return false;
      note_read16(static_cast<const unsigned char*>(block.dynamic_shared()) + offset);
      bf16 piece[8];
      std::memcpy(piece, block.async().view.get() + offset, sizeof piece);
      for (int i = 0; i < 8; ++i)
        matrix[(k + (operand.rows_contiguous ? 0 : i)) * rows + row + (operand.rows_contiguous ? i : 0)] =
            to_float(piece[i]);
    }
  return true;
}

/// a [k][row] from the registers of all lanes.
void read_fragments(const WarpFragments& fragments, float* a) {
  for (int lane = 0; lane < 32; ++lane)
    for (int i = 0; i < 4; ++i)
      for (int half = 0; half < 2; ++half) {
        const int row = lane / 4 + i % 2 * 8, k = lane % 4 * 2 + half + i / 2 * 8;
        const uint32_t bits = fragments.values[lane][i] >> (16 * half);
        a[k * kRows + row] = to_float(bf16{static_cast<uint16_t>(bits)});
      }
}

// ---- Products

void compute(WarpProduct& product) {
  WarpUnit& mine = unit();
  const int columns = product.sums->columns;
  float a[kK * kRows];
  float b[kK * 128];
  bool inside = true;
  {
    const ActAs as(mine.identity);
    acquire(&mine.issue_order);
    if (product.fragments)
      read_fragments(*product.fragments, a);
    else
      inside = read_operand(product.a, product.warp * kRows, kRows, a);
    inside = read_operand(product.b, 0, columns, b) && inside;
    release(&mine.done_order);
  }
  if (!inside)
    current->block->fail("wgmma: a tile that is not in dynamic shared memory, behind", current->where);
  float* sums = product.sums->values.data();
  if (!product.accumulate) std::fill_n(sums, kRows * columns, product.sums->fenced ? 0 : NAN);
  for (int row = 0; row < kRows; ++row)
    for (int k = 0; k < kK; ++k)
      for (int column = 0; column < columns; ++column)
        sums[row * columns + column] += a[k * kRows + row] * b[k * columns + column];
  product.computed = true;
}

WarpAccumulator& accumulator_of(const LaneProduct (&lanes)[32]) {
  WarpUnit& mine = unit();
  for (WarpAccumulator& known : mine.sums)
    if (known.at[0] == lanes[0].sums) return known;
  const int columns = lanes[0].columns;
  WarpAccumulator& made = mine.sums.emplace_back();
  made.columns = columns;
  made.values.resize(static_cast<size_t>(kRows * columns), NAN);
  for (int lane = 0; lane < 32; ++lane) {
    made.at[lane] = lanes[lane].sums;
    const std::byte* fenced = fenced_values(lane, lanes[lane].sums);
    made.fenced = made.fenced && fenced;
    for (int i = 0; i < columns / 2 && fenced; ++i)
      std::memcpy(&made.values[static_cast<size_t>(row_of(lane, i) * columns + column_of(lane, i))],
                  fenced + static_cast<size_t>(i) * sizeof(float), sizeof(float));
  }
  return made;
}

WarpFragments& fragments_of(const LaneProduct (&lanes)[32]) {
  WarpFragments& made = unit().fragments.emplace_back();
  for (int lane = 0; lane < 32; ++lane) {
    made.at[lane] = lanes[lane].fragments;
    const std::byte* fenced = fenced_values(lane, lanes[lane].fragments);
    if (fenced)
      std::memcpy(made.values[lane], fenced, sizeof made.values[lane]);
    else
      std::memset(made.values[lane], 0xFF, sizeof made.values[lane]);
  }
  return made;
}

/// What is wrong with the lanes' product; null: nothing.
const char* objection(const LaneProduct (&lanes)[32], const Where& where) {
  const LaneProduct& first = lanes[0];
  for (const LaneProduct& other : lanes)
    if (other.a.descriptor != first.a.descriptor || other.b.descriptor != first.b.descriptor ||
        other.accumulate != first.accumulate)
      return "the lanes of a warp disagree about a wgmma, at";
  for (const SharedOperand& operand : {first.fragments ? first.b : first.a, first.b}) {
    if (operand.descriptor >> 62 != 1)
      return "wgmma: a descriptor of another swizzle mode than 128 bytes, at";
    if (operand.descriptor >> 49 & 7) return "wgmma: a descriptor with a base offset, at";
  }
  auto& issued = current->block->async().warpgroups[static_cast<size_t>(warp_number() / 4)];
  WarpUnit& mine = unit();
  if (mine.issued < issued.size()) {
    const IssuedProduct& before = issued[mine.issued];
    if (!same_place(before.where, where) || before.a != first.a.descriptor ||
        before.b != first.b.descriptor || before.accumulate != first.accumulate)
      return "the warps of a warpgroup issue different wgmma, the second at";
  } else {
    issued.push_back({where, first.a.descriptor, first.b.descriptor, first.accumulate});
  }
  ++mine.issued;
  for (const WarpAccumulator& known : mine.sums)
    if (known.at[0] == first.sums && known.columns != first.columns)
      return "a wgmma of another shape adds to a sum in flight, at";
  return nullptr;
}

/// Run by the last lane to come.
void issue_for_warp(Slot* slots) {
  Block& block = *current->block;
  LaneProduct lanes[32];
  for (int lane = 0; lane < 32; ++lane) std::memcpy(&lanes[lane], slots[lane].bytes, sizeof lanes[lane]);
  if (const char* wrong = objection(lanes, current->where)) block.fail(wrong, current->where);
  show_fenced_stores(block);
  WarpUnit& mine = unit();
  if (!mine.identity) mine.identity = block.unit_identity(static_cast<size_t>(warp_number()));
  WarpProduct product{&accumulator_of(lanes), nullptr,    lanes[0].a,         lanes[0].b,
                      warp_number() % 4,      mine.group, lanes[0].accumulate};
  ++product.sums->unfinished;
  if (lanes[0].fragments) product.fragments = &fragments_of(lanes);
  for (const LaneProduct& lane : lanes) {
    std::memset(lane.sums, 0xFF, static_cast<size_t>(lane.columns) / 2 * sizeof(float));
    if (lane.fragments) std::memset(lane.fragments, 0xFF, 4 * sizeof(uint32_t));
  }
  mine.products.push_back(product);
  if (block.options->early_copies) compute(mine.products.back());
}

/// Gives registers back whose products are done and that the wait names.
void give_back() {
  WarpUnit& mine = unit();
  mine.sums.remove_if([](const WarpAccumulator& sums) {
    if (!named(0, sums.at[0])) return false;
    if (sums.unfinished)
      current->block->fail("wgmma_wait names registers of a product that it does not wait for, behind",
                           current->where);
    for (int lane = 0; lane < 32; ++lane)
      for (int i = 0; i < sums.columns / 2; ++i)
        sums.at[lane][i] =
            sums.values[static_cast<size_t>(row_of(lane, i) * sums.columns + column_of(lane, i))];
    return true;
  });
  mine.fragments.remove_if([](const WarpFragments& fragments) {
    if (!fragments.finished || !named(0, fragments.at[0])) return false;
    for (int lane = 0; lane < 32; ++lane)
      std::memcpy(fragments.at[lane], fragments.values[lane], sizeof fragments.values[lane]);
    return true;
  });
}

void commit_for_warp(Slot*) {
  ++unit().group;
}

void await_for_warp(Slot* slots) {
  WarpUnit& mine = unit();
  int pending;
  std::memcpy(&pending, slots[current->lane()].bytes, sizeof pending);
  while (!mine.products.empty() && mine.products.front().group < mine.group - pending) {
    WarpProduct& product = mine.products.front();
    if (!product.computed) compute(product);
    --product.sums->unfinished;
    if (product.fragments) product.fragments->finished = true;
    mine.products.pop_front();
  }
  give_back();
}

void require_warpgroup(const Where& where) {
  Block& block = *current->block;
  const auto threads = block.shape.x * block.shape.y * block.shape.z;
  if (current->warp().live != ~0u || (static_cast<unsigned>(current->number) / 128 + 1) * 128 > threads)
    block.fail("wgmma needs all 128 threads of a warpgroup, at", where);
}

}  // namespace

void issue_product(const LaneProduct& product, const Where& where) {
  require_warpgroup(where);
  release(&unit().issue_order);
  meet(~0u, Collective::kWarpgroup, &product, sizeof product, where, nullptr, issue_for_warp);
}

void fence_registers(std::initializer_list<Registers> named, const Where& where) {
  require_warpgroup(where);
  IgnoreAccesses ignore(current->ignore_depth);
  auto& fenced = current->block->async().fenced[static_cast<size_t>(current->number)];
  for (const Registers& registers : named) {
    std::erase_if(fenced, [&](const FencedRegisters& old) { return old.registers.at == registers.at; });
    fenced.push_back({registers, std::make_unique<std::byte[]>(registers.bytes)});
    std::memcpy(fenced.back().values.get(), registers.at, registers.bytes);
  }
}

void commit_products(const Where& where) {
  require_warpgroup(where);
  meet(~0u, Collective::kWarpgroup, nullptr, 0, where, nullptr, commit_for_warp);
}

void await_products(int pending, std::initializer_list<Registers> named, const Where& where) {
  require_warpgroup(where);
  {
    IgnoreAccesses ignore(current->ignore_depth);
    AsyncUnits& units = current->block->async();
    units.named[static_cast<size_t>(current->number)].assign(named.begin(), named.end());
    units.fenced[static_cast<size_t>(current->number)].clear();
  }
  meet(~0u, Collective::kWarpgroup, &pending, sizeof pending, where, nullptr, await_for_warp);
  acquire(&unit().done_order);
}

const char* unfinished_work(Block& block, bool last) {
  AsyncUnits& units = block.async();
  const WarpUnit& mine = unit();
  if (!mine.products.empty() || !mine.sums.empty() || !mine.fragments.empty())
    return "a thread returns before a wgmma_wait() that names all registers of its products; behind";
  if (!last) return nullptr;
  if (!units.copies.empty()) return "the block ends with a tma_load in flight; behind";
  for (size_t w = 0; w < units.warps.size(); ++w)
    if (units.warps[w].issued != units.warpgroups[w / 4].size())
      return "a warp has not issued all the wgmma of its warpgroup; behind";
  return nullptr;
}

}  // namespace wandistill::simt::engine
