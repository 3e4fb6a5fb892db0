// What a model's weights and activations are kept in.
#pragma once

#include <cstdint>

#include "wandistill/half.h"

namespace wandistill {

enum class Dtype { kFloat32, kBfloat16 };

template <class T>
inline constexpr Dtype kDtypeOf = Dtype::kFloat32;
template <>
inline constexpr Dtype kDtypeOf<bf16> = Dtype::kBfloat16;

}  // namespace wandistill
