// The number types that the teacher cache stores latents and velocities in.
#pragma once

#include <string>
#include <vector>

#include "wandistill/h5.h"

namespace wandistill {

enum class StoredDtype { kFloat32, kBfloat16, kFloat16 };

/// Of "float32", "bfloat16" or "float16"; anything else is an error naming these.
StoredDtype parse_stored_dtype(const std::string& name);
/// Of one number.
int64_t stored_bytes(StoredDtype dtype);

/// Rounds to the type, to nearest, ties to even. Returns the root mean square of what was lost relative to
/// that of the values. Error where a number is too large for the type.
double round_values(StoredDtype dtype, std::vector<float>* values);

/// Rows of numbers that the type represents exactly; a chunk per row, so that one is read without the others.
void create_stored(H5File& file, const std::string& name, StoredDtype dtype, const Shape& row_shape);
void append_stored(H5File& file, const std::string& name, StoredDtype dtype, int64_t rows,
                   const std::vector<float>& values);
/// Rows [first, first + rows), `count` numbers in all.
void read_stored(const H5File& file, const std::string& name, StoredDtype dtype, int64_t first, int64_t rows,
                 int64_t count, float* out);

}  // namespace wandistill
