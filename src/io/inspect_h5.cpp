#include <algorithm>
#include <cstdio>

#include "h5_detail.h"
#include "h5_driver.h"
#include "wandistill/error.h"
#include "wandistill/h5.h"
#include "wandistill/inspect.h"

namespace wandistill {
namespace {

constexpr int64_t kShort = 8;  // lists up to this long are shown with their values
constexpr size_t kText = 160;  // characters of a text in a list

/// "float32", "int64", "text", ...
std::string type_name(hid_t type) {
  const std::string bits = std::to_string(8 * H5Tget_size(type));
  switch (H5Tget_class(type)) {
    case H5T_FLOAT: {
      size_t sign = 0, exponent = 0, exponent_bits = 0, mantissa = 0, mantissa_bits = 0;
      H5Tget_fields(type, &sign, &exponent, &exponent_bits, &mantissa, &mantissa_bits);
      return (bits == "16" && exponent_bits == 8 ? "bfloat" : "float") + bits;
    }
    case H5T_INTEGER:
      return (H5Tget_sign(type) == H5T_SGN_NONE ? "uint" : "int") + bits;
    case H5T_STRING:
      return "text";
    default:
      return "another type";
  }
}

std::string indented(const std::string& text, const std::string& margin) {
  std::string out = "\n" + margin;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\n' && i + 1 == text.size()) break;
    out += text[i];
    if (text[i] == '\n') out += margin;
  }
  return out;
}

template <class T>
std::string values_text(const H5File& file, const std::string& name) {
  std::string text;
  for (const T value : file.read<T>(name).second) text += (text.empty() ? "" : ", ") + cat(value);
  return text;
}

/// The value, where it is short enough to be shown.
std::string value_text(const H5File& file, const std::string& name, const h5::Dataset& dataset,
                       const std::string& margin) {
  if (dataset.shape.size() > 1 || element_count(dataset.shape) == 0) return "";
  if (dataset.holds_strings()) {
    if (dataset.shape.empty()) {
      const std::string text = file.read_string(name);
      return text.find('\n') == std::string::npos ? " = " + text : " =" + indented(text, margin + "    ");
    }
    std::string list;
    for (const std::string& text : file.read_string_rows(name, 0, std::min(dataset.shape[0], kShort)))
      list += "\n" + margin + "    " + text.substr(0, kText) + (text.size() > kText ? "..." : "");
    return list + (dataset.shape[0] > kShort ? "\n" + margin + "    ..." : "");
  }
  if (element_count(dataset.shape) > kShort) return "";
  switch (H5Tget_class(dataset.type)) {
    case H5T_FLOAT:
      return " = " + values_text<double>(file, name);
    case H5T_INTEGER:
      return " = " + (H5Tget_sign(dataset.type) == H5T_SGN_NONE ? values_text<uint64_t>(file, name)
                                                                : values_text<int64_t>(file, name));
    default:
      return "";
  }
}

void describe_group(const H5File& file, hid_t types, const std::string& group, const std::string& margin,
                    std::string* text) {
  for (const std::string& child : file.list(group)) {
    const std::string name = group.empty() ? child : group + "/" + child;
    if (file.is_group(name)) {
      *text += margin + child + "/\n";
      describe_group(file, types, name, margin + "  ", text);
      continue;
    }
    const h5::Dataset dataset = h5::open_dataset(types, {file.path(), name});
    *text += margin + child + "  " + type_name(dataset.type) +
             (dataset.shape.empty() ? "" : " " + shape_text(dataset.shape)) +
             value_text(file, name, dataset, margin) + "\n";
  }
}

}  // namespace

std::string describe_h5(const std::filesystem::path& path) {
  const H5File file = H5File::open_read(path);
  // H5File keeps its identifier to itself; the types are read through one of our own.
  int error = 0;
  const h5::Id access(h5::make_access(&error), H5Pclose);
  const h5::Id types(H5Fopen(path.c_str(), H5F_ACC_RDONLY, access), H5Fclose);
  char size[40];
  std::snprintf(size, sizeof(size), "%.1f MB", double(std::filesystem::file_size(path)) / 1e6);
  std::string text = path.string() + ": HDF5, " + size + "\n";
  describe_group(file, types, "", "  ", &text);
  return text;
}

}  // namespace wandistill
