// A teacher's experts, where --teacher_placement has them.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "wandistill/component_weights.h"
#include "wandistill/teacher_placement.h"
#include "wandistill/wan_weights.h"

namespace wandistill {

class Experts {
 public:
  virtual ~Experts() = default;
  /// Of expert 0 or, if there are two, 1.
  virtual WanWeights weights(size_t expert) = 0;
  LoadFigures figures;
  std::string where;  // for the log: "both in the GPU's memory"
};

/// Reads the transformers in these folders (one or two), laid out as `layout` says, once per node. compute:
/// where they compute; of kHost a host. placement is not kAuto. layout and compute outlive the result. Null
/// session: of a program of one process. Collective; errors as load_wan_weights() has them.
std::unique_ptr<Experts> load_experts(Session* session, const std::vector<std::filesystem::path>& folders,
                                      const ParameterLayout& layout, const Compute& compute, Dtype dtype,
                                      TeacherPlacement placement);

}  // namespace wandistill
