#include "wandistill/teacher_placement.h"

#include <algorithm>

#include "wandistill/error.h"

namespace wandistill {
namespace {

constexpr const char* kNames[] = {"auto", "resident", "expert", "stream", "host"};

int64_t element_bytes(Dtype dtype) {
  return dtype == Dtype::kBfloat16 ? 2 : 4;
}

/// Elements of one block.
int64_t block_size(const ParameterLayout& layout) {
  return layout.gradient_order()[1].size();  // the head's come first, then the blocks'
}

}  // namespace

TeacherPlacement parse_teacher_placement(const std::string& name) {
  for (int i = 0; i < 5; ++i)
    if (name == kNames[i]) return static_cast<TeacherPlacement>(i);
  fail("unknown teacher placement '", name, "'; expected auto, resident, expert, stream or host");
}

TeacherPlacement teacher_placement_of(const PlacementOptions& options) {
  const std::string& strategy = options.teacher_device_strategy;
  TeacherPlacement placement = parse_teacher_placement(options.teacher_placement);
  std::string from = cat("--teacher_placement ", options.teacher_placement);
  const auto also = [&](TeacherPlacement other, const std::string& option) {
    if (placement != TeacherPlacement::kAuto && placement != other)
      fail(from, " and ", option, " contradict each other; one of them is enough");
    placement = other;
    from = option;
  };
  if (strategy == "cpu") also(TeacherPlacement::kHost, "--teacher_device_strategy cpu");
  if (strategy == "balanced") also(TeacherPlacement::kExpert, "--teacher_device_strategy balanced");
  if (strategy == "gpu0") also(TeacherPlacement::kResident, "--teacher_device_strategy gpu0");
  if (options.teacher_on_cpu) also(TeacherPlacement::kHost, "--teacher_on_cpu");
  return placement;
}

const char* teacher_placement_name(TeacherPlacement placement) {
  return kNames[static_cast<int>(placement)];
}

int64_t TeacherSizes::gpu_bytes(TeacherPlacement placement) const {
  const ParameterLayout layout(config);
  const int64_t block = block_size(layout);
  switch (placement) {
    case TeacherPlacement::kResident:
      return experts * layout.total() * element_bytes(dtype);
    case TeacherPlacement::kExpert:
      return layout.total() * element_bytes(dtype);
    case TeacherPlacement::kStream:
      return (layout.total() - std::max<int64_t>(0, config.layers - 2) * block) * element_bytes(dtype);
    case TeacherPlacement::kHost:
      return 0;
    case TeacherPlacement::kAuto:
      break;
  }
  fail("internal error: the placement 'auto' has no size of its own");
}

int64_t TeacherSizes::host_bytes(TeacherPlacement placement) const {
  const int64_t elements = experts * ParameterLayout(config).total();
  if (placement == TeacherPlacement::kResident) return 0;
  return elements * (placement == TeacherPlacement::kHost ? 4 : element_bytes(dtype));
}

int64_t TeacherSizes::streamed_bytes(TeacherPlacement placement) const {
  if (placement != TeacherPlacement::kStream) return 0;
  return config.layers * block_size(ParameterLayout(config)) * element_bytes(dtype);
}

TeacherPlacement TeacherSizes::choose(int64_t room) const {
  for (const TeacherPlacement placement :
       {TeacherPlacement::kResident, TeacherPlacement::kExpert, TeacherPlacement::kStream})
    if (gpu_bytes(placement) <= room) return placement;
  return TeacherPlacement::kHost;
}

}  // namespace wandistill
