#include "src/train/batch_reader.h"

#include "wandistill/error.h"

namespace wandistill {

void BatchReader::drop() {
  if (next_.valid()) next_.wait();  // what goes wrong with a batch that nobody wants is nobody's error
  next_ = {};
}

TrainingBatch BatchReader::read(const BatchRequest& request) const {
  return data_.load(request.samples, request.global_batch, loss_, request.step, request.first_position,
                    picture_, text_dim_);
}

void BatchReader::ahead(BatchRequest request) {
  WD_REQUIRE(!next_.valid());
  requested_ = std::move(request);
  // The thread inherits the signals that StopSignals blocks.
  next_ = std::async(std::launch::async, [this] { return read(requested_); });
}

TrainingBatch BatchReader::take(const BatchRequest& request) {
  if (next_.valid() && requested_ == request) return next_.get();
  drop();
  return read(request);
}

}  // namespace wandistill
