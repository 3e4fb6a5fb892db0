// The README.md of an exported student.
#pragma once

#include <string>

#include "wandistill/export.h"

namespace wandistill {

/// A model card in the form that the Hugging Face Hub shows (Markdown with a YAML head). linked: the shared
/// components are links into the teacher's folder; `teacher` is where they point.
std::string model_card(const WanTransformer& student, const ExportInfo& info, bool linked,
                       const std::filesystem::path& teacher);

}  // namespace wandistill
