// What is in a model folder or an HDF5 file, as text for people.
#pragma once

#include <filesystem>
#include <string>

namespace wandistill {

/// A pipeline folder (model_index.json): its components with class, parameters, dtypes and bytes, and their
/// configs. Or one component's folder (config.json). No tensor data is read. Error where it is neither.
std::string describe_model_folder(const std::filesystem::path& folder);

/// The tree of an HDF5 file: shape and type of every dataset, scalars, texts and short lists with their
/// values.
std::string describe_h5(const std::filesystem::path& file);

}  // namespace wandistill
