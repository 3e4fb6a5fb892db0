// What is known of every sample picture: samples/manifest.jsonl, one JSON object per line.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace wandistill {

/// One sample picture, or why there is none.
struct PictureRecord {
  std::string file = {};  ///< name within the folder; empty: there is no picture, see error
  std::string prompt = {};
  int64_t prompt_index = 0;
  uint64_t seed = 0;
  std::string epoch = {};         ///< a number, or "teacher"; empty outside of a training run
  int64_t step = 0;               ///< optimizer step of the weights; 0 outside of training
  int rank = 0;                   ///< that drew it; -1: none began it
  int64_t helpers = 0;            ///< further ranks that helped with it
  int64_t batch = 1;              ///< pictures drawn together with it, itself included
  double denoise_seconds = 0;     ///< of this picture: its share of a batch; so the next two
  double decode_seconds = 0;      //
  double write_seconds = 0;       //
  double fence_wait_seconds = 0;  ///< that its rank waited at the end of the round
  std::string error = {};         ///< why there is no picture
  bool operator==(const PictureRecord&) const = default;

  bool by_teacher() const { return epoch == "teacher"; }
  double work_seconds() const { return denoise_seconds + decode_seconds + write_seconds; }
};

/// The order of rounds: outside of training, the teacher, then epochs by their number.
bool epoch_before(const std::string& a, const std::string& b);

/// One line of the manifest, without its line break. Bytes that are not UTF-8 become U+FFFD.
std::string to_json_line(const PictureRecord& record);

/// The reverse. Error where the line is no such record (not JSON, a key missing, unknown or of the wrong
/// type); its message begins with `place`, such as "manifest.jsonl: line 3" or "rank 2".
PictureRecord parse_json_line(std::string_view line, const std::string& place);

/// All records of a manifest; none where there is no such file. Error with file and line where it is damaged.
std::vector<PictureRecord> read_manifest(const std::filesystem::path& path);

/// Replaces the manifest, atomically.
void write_manifest(const std::filesystem::path& path, const std::vector<PictureRecord>& records);

/// `fresh`, and those of `old` whose epoch is not among the fresh ones: a round drawn again replaces the
/// round. In the order of epoch_before, then by prompt index.
std::vector<PictureRecord> merge_records(const std::vector<PictureRecord>& old,
                                         const std::vector<PictureRecord>& fresh);

}  // namespace wandistill
