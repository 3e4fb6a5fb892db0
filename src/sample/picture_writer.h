// Writes pictures as PNG while the next ones are drawn.
#pragma once

#include <condition_variable>
#include <deque>
#include <filesystem>
#include <functional>
#include <mutex>
#include <thread>

#include "wandistill/png.h"

namespace wandistill {

/// One thread and a queue of at most two pictures: who draws faster than the disk takes waits in push().
class PictureWriter {
 public:
  /// Called on the writer's thread when a picture is done: seconds, and what went wrong (empty: nothing).
  using Done = std::function<void(double seconds, const std::string& error)>;

  explicit PictureWriter(int compression_level);
  ~PictureWriter() { finish(); }
  PictureWriter(const PictureWriter&) = delete;
  PictureWriter& operator=(const PictureWriter&) = delete;

  /// The picture with its text, atomically.
  void push(std::filesystem::path file, Image image, Done done);
  /// Returns when every picture is written.
  void finish();

 private:
  struct Item {
    std::filesystem::path file;
    Image image;
    Done done;
  };
  void run();

  int compression_level_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Item> queue_;
  bool finished_ = false;
  std::thread thread_;
};

}  // namespace wandistill
