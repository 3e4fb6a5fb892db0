#include "src/teacher/stored_values.h"

#include <cmath>
#include <type_traits>

#include "wandistill/error.h"
#include "wandistill/half.h"

namespace wandistill {
namespace {

template <class T>
T narrowed(float value) {
  if constexpr (std::is_same_v<T, bf16>)
    return to_bf16(value);
  else
    return to_fp16(value);
}

/// Calls f with a value of the type that the numbers are kept in.
template <class F>
decltype(auto) with_type(StoredDtype dtype, F&& f) {
  switch (dtype) {
    case StoredDtype::kBfloat16:
      return f(bf16{});
    case StoredDtype::kFloat16:
      return f(fp16{});
    default:
      return f(float{});
  }
}

}  // namespace

StoredDtype parse_stored_dtype(const std::string& name) {
  if (name == "float32") return StoredDtype::kFloat32;
  if (name == "bfloat16") return StoredDtype::kBfloat16;
  if (name == "float16") return StoredDtype::kFloat16;
  fail("unknown cache dtype '", name, "'; expected float32, bfloat16 or float16");
}

int64_t stored_bytes(StoredDtype dtype) {
  return with_type(dtype, [](auto value) { return int64_t(sizeof value); });
}

double round_values(StoredDtype dtype, std::vector<float>* values) {
  if (dtype == StoredDtype::kFloat32) return 0;
  return with_type(dtype, [&](auto type) -> double {
    using T = decltype(type);
    if constexpr (std::is_same_v<T, float>) {
      return 0;
    } else {
      double lost = 0, all = 0;
      for (float& value : *values) {
        const float rounded = to_float(narrowed<T>(value));
        if (!std::isfinite(rounded))
          fail("the value ", value, " of a trajectory cannot be stored in 16 bits; choose --cache_dtype ",
               dtype == StoredDtype::kFloat16 ? "bfloat16 or float32" : "float32");
        lost += double(rounded - value) * (rounded - value);
        all += double(value) * value;
        value = rounded;
      }
      return all > 0 ? std::sqrt(lost / all) : 0;
    }
  });
}

void create_stored(H5File& file, const std::string& name, StoredDtype dtype, const Shape& row_shape) {
  with_type(dtype, [&](auto type) { file.create_extendible<decltype(type)>(name, row_shape, 1); });
}

void append_stored(H5File& file, const std::string& name, StoredDtype dtype, int64_t rows,
                   const std::vector<float>& values) {
  with_type(dtype, [&](auto type) {
    using T = decltype(type);
    if constexpr (std::is_same_v<T, float>) {
      file.append_rows<float>(name, rows, values.data());
    } else {
      std::vector<T> narrow;
      narrow.reserve(values.size());
      for (const float value : values) narrow.push_back(narrowed<T>(value));
      file.append_rows<T>(name, rows, narrow.data());
    }
  });
}

void read_stored(const H5File& file, const std::string& name, StoredDtype dtype, int64_t first, int64_t rows,
                 int64_t count, float* out) {
  with_type(dtype, [&](auto type) {
    using T = decltype(type);
    if constexpr (std::is_same_v<T, float>) {
      file.read_rows<float>(name, first, rows, out);
    } else {
      std::vector<T> narrow(static_cast<size_t>(count));
      file.read_rows<T>(name, first, rows, narrow.data());
      for (const T value : narrow) *out++ = to_float(value);
    }
  });
}

}  // namespace wandistill
