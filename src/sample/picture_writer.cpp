#include "src/sample/picture_writer.h"

#include <chrono>

namespace wandistill {
namespace {

constexpr size_t kMostQueued = 2;

}  // namespace

PictureWriter::PictureWriter(int compression_level)
    : compression_level_(compression_level), thread_([this] { run(); }) {}

void PictureWriter::push(std::filesystem::path file, Image image, Done done) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return queue_.size() < kMostQueued; });
  queue_.push_back({std::move(file), std::move(image), std::move(done)});
  changed_.notify_all();
}

void PictureWriter::finish() {
  {
    const std::lock_guard lock(mutex_);
    finished_ = true;
    changed_.notify_all();
  }
  if (thread_.joinable()) thread_.join();
}

void PictureWriter::run() {
  using Clock = std::chrono::steady_clock;
  while (true) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return finished_ || !queue_.empty(); });
    if (queue_.empty()) return;
    const Item item = std::move(queue_.front());
    queue_.pop_front();
    changed_.notify_all();
    lock.unlock();
    const auto start = Clock::now();
    std::string error;
    try {
      write_png(item.file, item.image.width, item.image.height, item.image.rgb.data(), item.image.text,
                compression_level_);
    } catch (const std::exception& e) {
      error = e.what();
    }
    item.done(std::chrono::duration<double>(Clock::now() - start).count(), error);
  }
}

}  // namespace wandistill
