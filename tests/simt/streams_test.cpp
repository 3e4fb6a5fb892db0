// Streams and events of the SIMT device: legal orders, and no more helpful than legal.
#include <algorithm>
#include <string>

#include "tests/simt/subjects.h"
#include "wandistill/error.h"

namespace wandistill::simt_test {
namespace {

constexpr int64_t kCount = 5;

std::vector<float> filled(float value) {
  return std::vector<float>(kCount, value);
}

TEST_CASE("copies there and back") {
  on_every_device([](DeviceSession& session, const TestKernels&) {
    const auto values = normal(257, 1);
    const auto first = session.upload(values);
    DeviceBuffer<float> second(*session.stream, 257);
    copy(*session.stream, second.data(), first.data(), 257);
    CHECK(session.download(second) == values);
    session.stream->fill(second.data(), 0, 4 * 100);
    const auto found = session.download(second);
    CHECK(std::vector<float>(found.begin(), found.begin() + 100) == std::vector<float>(100));
    CHECK(std::equal(found.begin() + 100, found.end(), values.begin() + 100));
    DeviceBuffer<float> moved = std::move(second);
    CHECK(second.data() == nullptr);
    CHECK(moved.size() == 257);
    DeviceBuffer<float> empty(*session.stream, 0);
    CHECK(session.download(empty).empty());
  });
}

#ifndef __SANITIZE_THREAD__  // it sees what the host does too early in these, as it should
TEST_CASE("nothing happens before somebody waits") {
  for (const SimtCase& c : kSimtCases) {
    DeviceSession session(make_simt_device(c.options));
    const auto device = session.upload(filled(1));
    PinnedBuffer<float> back(*session.device, kCount);
    CHECK(std::isnan(back[0]));
    copy(*session.stream, back.data(), device.data(), kCount);
    CHECK(std::isnan(back[0]));
    session.stream->synchronize();
    CHECK(back[0] == 1);
  }
}

TEST_CASE("a pinned buffer is read when the stream gets there") {
  DeviceSession session(make_simt_device({}));
  PinnedBuffer<float> pinned(*session.device, kCount);
  DeviceBuffer<float> device(*session.stream, kCount);
  std::fill(pinned.data(), pinned.data() + kCount, 1.0f);
  copy(*session.stream, device.data(), pinned.data(), kCount);
  std::fill(pinned.data(), pinned.data() + kCount, 2.0f);
  CHECK(session.download(device) == filled(2));
}
#endif

TEST_CASE("host memory that is not pinned is refused, and what lies beyond a buffer") {
  DeviceSession session(make_simt_device({}));
  DeviceBuffer<float> device(*session.stream, kCount);
  const auto host = filled(1);
  CHECK_THROWS_AS(copy(*session.stream, device.data(), host.data(), kCount), Error);
  CHECK_THROWS_AS(session.stream->fill(device.data(), 0, kCount * 4 + 1), Error);
  CHECK_THROWS_AS(session.stream->fill(device.data() - 1, 0, 4), Error);
}

/// The order in which 3 streams' 3 operations each happen, by the letters that they write.
std::string order_of_operations(const SimtOptions& options, bool chained) {
  auto device = make_simt_device(options);
  std::string order;
  std::unique_ptr<Stream> streams[3] = {device->make_stream(), device->make_stream(), device->make_stream()};
  PinnedBuffer<char> log(*device, 64), letters(*device, 9);
  auto event = device->make_event();
  std::fill(log.data(), log.data() + 64, ' ');
  for (int step = 0; step < 3; ++step)
    for (int s = 0; s < 3; ++s) {
      Stream& stream = *streams[s];
      letters[step * 3 + s] = static_cast<char>('a' + s);
      if (chained && (step || s)) stream.wait(*event);
      // The log moves on by one and gets a letter.
      for (int i = 30; i > 0; --i) copy(stream, log.data() + i, log.data() + i - 1, 1);
      copy(stream, log.data(), letters.data() + step * 3 + s, 1);
      if (chained) stream.record(*event);
    }
  device->synchronize();
  for (int i = 30; i >= 0; --i)
    if (log[i] != ' ') order += log[i];
  return order;
}

TEST_CASE("streams run in unhelpful orders, and in order where events say so") {
#ifndef __SANITIZE_THREAD__  // these streams race on purpose
  CHECK(order_of_operations({SimtOrder::kForward}, false) == "aaabbbccc");
  CHECK(order_of_operations({SimtOrder::kReverse}, false) == "cccbbbaaa");
#endif
  for (const SimtCase& c : kSimtCases) CHECK(order_of_operations(c.options, true) == "abcabcabc");
}

TEST_CASE("an event that was never recorded is no event; a wait means the last record before it") {
  for (const SimtCase& c : kSimtCases) {
    DeviceSession session(make_simt_device(c.options));
    const auto other = session.device->make_stream();
    const auto event = session.device->make_event();
    event->synchronize();
    other->wait(*event);
    other->synchronize();
    auto x = session.upload(filled(1));
    PinnedBuffer<float> seen(*session.device, kCount);
    PinnedBuffer<float> two(*session.device, kCount);
    std::fill(two.data(), two.data() + kCount, 2.0f);
    copy(*session.stream, x.data(), two.data(), kCount);
    session.stream->record(*event);
    other->wait(*event);
    copy(*other, seen.data(), x.data(), kCount);
    other->record(*event);  // recorded again: whoever waited before does not wait for this
    event->synchronize();
    CHECK(seen[0] == 2);
  }
}

TEST_CASE("the pipeline of two streams is right in every order, and wrong in some without its events") {
  const auto errors = [](Fault fault) {
    std::vector<double> found;
    for (const SimtCase& c : kSimtCases) {
      DeviceSession session(make_simt_device(c.options));
      found.push_back(pipeline_error(session, fault));
    }
    return found;
  };
  for (const double error : errors(Fault::kNone)) CHECK(error <= kPipelineBound);
#ifndef __SANITIZE_THREAD__
  for (const Fault fault : {Fault::kNoEvent, Fault::kNoEventBack, Fault::kEarlyHostWrite}) {
    const auto found = errors(fault);
    CHECK(std::any_of(found.begin(), found.end(), [](double error) { return !(error <= kPipelineBound); }));
  }
#endif
}

}  // namespace
}  // namespace wandistill::simt_test
