#include "src/sample/samples_folder.h"

#include <set>

#include "wandistill/error.h"
#include "wandistill/file.h"
#include "wandistill/png.h"

namespace wandistill {
namespace fs = std::filesystem;

void SamplesFolder::load() {
  records_ = read_manifest(path_ / "manifest.jsonl");
}

void SamplesFolder::add(const std::vector<PictureRecord>& fresh) {
  records_ = merge_records(records_, fresh);
}

void SamplesFolder::remove(const std::function<bool(const PictureRecord&)>& unwanted) {
  std::erase_if(records_, [&](const PictureRecord& record) {
    if (!unwanted(record)) return false;
    if (!record.file.empty()) fs::remove(path_ / record.file);
    return true;
  });
}

void SamplesFolder::remove_others(const std::string& prefix, const std::vector<PictureRecord>& kept) const {
  std::set<std::string> names;
  for (const PictureRecord& record : kept) names.insert(record.file);
  for (const auto& entry : fs::directory_iterator(path_)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with(prefix) && name.ends_with(".png") && !names.contains(name)) fs::remove(entry.path());
  }
}

void SamplesFolder::write(const std::string& title, const std::vector<LossPoint>& curve) const {
  write_manifest(path_ / "manifest.jsonl", records_);
  write_file_atomically(path_ / "index.html", samples_page({.title = title,
                                                            .records = records_,
                                                            .curve = curve,
                                                            .picture_width = width_,
                                                            .picture_height = height_}));
}

bool SamplesFolder::has_picture(const std::string& file) const {
  try {
    const Image image = read_png(path_ / file);
    return image.height == height_ && image.width == width_;
  } catch (const Error&) {
    return false;
  }
}

}  // namespace wandistill
