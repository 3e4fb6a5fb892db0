// A folder of pictures with its manifest.jsonl and the page that shows them.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "wandistill/picture_record.h"
#include "wandistill/samples_page.h"

namespace wandistill {

/// For one rank.
class SamplesFolder {
 public:
  /// height, width: of the pictures, in pixels.
  SamplesFolder(std::filesystem::path path, int64_t height, int64_t width)
      : path_(std::move(path)), height_(height), width_(width) {}
  const std::filesystem::path& path() const { return path_; }

  /// Reads manifest.jsonl, if there is one.
  void load();
  /// Records of the manifest, by epoch and prompt.
  const std::vector<PictureRecord>& records() const { return records_; }
  /// Adds the records of a round, in place of an earlier round's of the same epoch.
  void add(const std::vector<PictureRecord>& fresh);
  /// Removes records and their pictures.
  void remove(const std::function<bool(const PictureRecord&)>& unwanted);
  /// Removes pictures whose names start with `prefix` and that no record of `kept` names: what an earlier
  /// attempt with other ranks left.
  void remove_others(const std::string& prefix, const std::vector<PictureRecord>& kept) const;
  /// Writes manifest.jsonl and index.html.
  void write(const std::string& title, const std::vector<LossPoint>& curve) const;
  /// Whether this file is a picture of the folder's size.
  bool has_picture(const std::string& file) const;

 private:
  std::filesystem::path path_;
  int64_t height_, width_;
  std::vector<PictureRecord> records_;
};

}  // namespace wandistill
