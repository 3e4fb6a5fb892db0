// Event files that TensorBoard shows: scalars and pictures over steps.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "src/train/append_file.h"
#include "wandistill/json.h"

namespace wandistill {

/// The file of one start of a run: TensorBoard reads all of a folder, in the order of their names. In it are
/// records as tensorflow/core/lib/io/record_writer.h has them (length and data, each with its CRC-32C), each
/// an Event of tensorflow/core/util/event.proto. What cannot be written is reported, as AppendFile does.
class TensorBoard {
 public:
  /// A new file in `folder`, which is made if it is not there. The run goes on with step `next_step`: what
  /// earlier files have of this and later steps is dropped by TensorBoard, it is done again.
  TensorBoard(const std::filesystem::path& folder, int64_t next_step);

  /// Every number in the object, and in objects and lists in it, under its path: "train/seconds/data".
  void scalars(int64_t step, const std::string& prefix, const Json& values);
  /// png: the bytes of a PNG file.
  void picture(int64_t step, const std::string& tag, std::string_view png);
  const std::filesystem::path& path() const { return file_.path(); }

 private:
  AppendFile file_;
};

namespace event {

/// Serialised events. wall_time: seconds since 1970.
std::string version(double wall_time);
std::string session_start(double wall_time, int64_t step);
struct Scalar {
  std::string tag;
  float value;
};
std::string scalars(double wall_time, int64_t step, const std::vector<Scalar>& scalars);
std::string picture(double wall_time, int64_t step, const std::string& tag, std::string_view png);
/// What stands in the file for one of them.
std::string record(const std::string& data);

}  // namespace event
}  // namespace wandistill
