#include "src/model/wan_vae_stages.h"

#include <algorithm>
#include <ranges>

#include "wandistill/ops/attention.h"

namespace wandistill {
namespace {

/// Makes room for a stage on rows x w pixels, as VaePass::run uses the buffers.
void make_room(VaeMemory& m, const VaeStage& stage, int64_t rows, int64_t w, int threads) {
  const auto scratch = [&](const VaeConv& conv) {
    m.scratch = std::max(m.scratch, cpu::conv2d_scratch_bytes(conv.shape(rows, w), threads));
  };
  const int64_t pixels = rows * w;
  if (stage.block) {
    const VaeConv& first = stage.block->conv1;
    m.stream = std::max(m.stream, pixels * std::max(first.c_in, first.c_out));
    m.inner = std::max(m.inner, pixels * first.c_out);
    scratch(first);
    scratch(stage.block->conv2);
  } else if (stage.conv->upsample) {
    m.stream = std::max(m.stream, 4 * pixels * stage.conv->c_out);
    scratch(*stage.conv);
  } else {
    m.stream = std::max(m.stream, pixels * stage.conv->c_in);
    m.inner = std::max(m.inner, pixels * stage.conv->c_out);
    scratch(*stage.conv);
  }
}

/// From the last stage, whose pixels are wanted, to the first.
std::vector<VaeStage> all_stages(const WanVaeWeights& weights, int64_t h, VaeRows of) {
  int64_t zoom = 1;
  for (const VaeUpBlock& block : weights.up_blocks) zoom *= block.upsampler ? 2 : 1;
  int64_t height = zoom * h;
  VaeRows rows{zoom * of.begin, zoom * of.end};
  const auto widen = [&](int64_t reach) {
    rows = {std::max<int64_t>(0, rows.begin - reach), std::min(height, rows.end + reach)};
  };

  std::vector<VaeStage> stages;  // the last one first
  widen(weights.conv_out.reach());
  stages.push_back({nullptr, &weights.conv_out, rows});
  for (const VaeUpBlock& block : weights.up_blocks | std::views::reverse) {
    if (block.upsampler) {
      widen(block.upsampler->reach());
      rows = {rows.begin / 2, (rows.end + 1) / 2};
      height /= 2;
      stages.push_back({nullptr, &*block.upsampler, rows});
    }
    for (const VaeResidualBlock& resnet : block.resnets | std::views::reverse) {
      widen(resnet.reach());
      stages.push_back({&resnet, nullptr, rows});
    }
  }
  std::ranges::reverse(stages);
  return stages;
}

}  // namespace

std::vector<VaeStage> trunk_stages(const WanVaeWeights& weights, int64_t h, VaeRows rows) {
  std::vector<VaeStage> stages = all_stages(weights, h, rows);
  stages.erase(std::ranges::find(stages, nullptr, &VaeStage::block), stages.end());
  return stages;
}

std::vector<VaeStage> strip_stages(const WanVaeWeights& weights, int64_t h, VaeRows rows) {
  std::vector<VaeStage> stages = all_stages(weights, h, rows);
  stages.erase(stages.begin(), std::ranges::find(stages, nullptr, &VaeStage::block));
  return stages;
}

VaeMemory trunk_memory(const WanVaeWeights& weights, int64_t h, int64_t w, int threads) {
  const int64_t pixels = h * w;
  VaeMemory m;
  m.stream = weights.conv_in.c_in * pixels;
  m.inner = 3 * weights.q.c_out * pixels;  // q, k and v side by side
  m.scratch = std::max(cpu::conv2d_scratch_bytes(weights.conv_in.shape(h, w), threads),
                       cpu::attention_scratch_bytes(pixels, pixels, threads));
  for (const VaeResidualBlock* block : {&weights.before_attention, &weights.after_attention})
    make_room(m, {block, nullptr, {}}, h, w, threads);
  for (const VaeStage& stage : trunk_stages(weights, h, {0, h})) make_room(m, stage, h, w, threads);
  return m;
}

VaeMemory strip_memory(const WanVaeWeights& weights, int64_t h, int64_t w, int64_t strip, int threads) {
  // The strip in the middle has the most rows: the picture's borders cut off the least.
  const int64_t begin = (h - strip) / 2;
  VaeMemory m;
  for (const VaeStage& stage : strip_stages(weights, h, {begin, begin + strip})) {
    make_room(m, stage, stage.rows.size(), w, threads);
    if (stage.conv && stage.conv->upsample) w *= 2;
  }
  return m;
}

int64_t decode_peak_bytes(const WanVaeWeights& weights, int64_t h, int64_t w, int64_t rows, int64_t strip,
                          int threads, int64_t element) {
  const VaeMemory trunk = trunk_memory(weights, h, w, threads);
  const VaeMemory pass = strip_memory(weights, h, w, strip == 0 ? rows : std::min(strip, rows), threads);
  return std::max(trunk.bytes(element), trunk.stream * element + pass.bytes(element));
}

int64_t strip_rows(const WanVaeWeights& weights, int64_t h, int64_t w, int64_t bytes, int threads,
                   int64_t element) {
  const int64_t budget = std::max(bytes, decode_peak_bytes(weights, h, w, h, 1, threads, element));
  int64_t rows = h;
  while (decode_peak_bytes(weights, h, w, h, rows, threads, element) > budget) --rows;
  return rows;
}

}  // namespace wandistill
