#include "src/train/metrics.h"

#include "wandistill/error.h"

namespace wandistill {

MetricsFile::MetricsFile(const std::filesystem::path& file, bool enabled) : path_(file) {
  if (!enabled) return;
  out_.open(file, std::ios::app);
  if (!out_) fail(file.string(), ": cannot be opened for appending");
}

void MetricsFile::write(const Json& line) {
  if (!out_.is_open()) return;
  out_ << line.dump() << std::endl;
  if (!out_) fail(path_.string(), ": cannot be written; is the disk full?");
}

}  // namespace wandistill
