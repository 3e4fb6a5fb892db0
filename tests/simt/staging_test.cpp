// Pinned memory between the host's and a device's (src/gpu/staging_ring.h).
#include <algorithm>

#include "src/gpu/simt_device.h"
#include "src/gpu/staging_ring.h"
#include "tests/simt/device_session.h"

namespace wandistill::simt_test {
namespace {

constexpr int64_t kPieceFloats = 128, kPieceBytes = kPieceFloats * 4;

TEST_CASE("uploads and downloads through a ring, smaller and larger than it") {
  on_every_device([](DeviceSession& session, const TestKernels&) {
    StagingRing ring(*session.device, kPieceBytes);
    for (const int64_t n : {1, 5, 127, 128, 129, 256, 257, 640, 1111}) {
      CAPTURE(n);
      const auto values = normal(n, 1);
      auto device = session.buffer<float>(n);
      auto host = values;
      ring.upload(*session.stream, device.data(), host.data(), n * 4);
      std::fill(host.begin(), host.end(), 0.0f);  // at once: it has been copied
      ring.download(*session.stream, host.data(), device.data(), n * 4);
      CHECK(host == values);
    }
  });
}

TEST_CASE("many uploads in a row: a piece is written again only when the stream has read it") {
  on_every_device([](DeviceSession& session, const TestKernels&) {
    StagingRing ring(*session.device, kPieceBytes);
    const int64_t n = 50;
    std::vector<DeviceBuffer<float>> buffers;
    for (uint32_t i = 0; i < 30; ++i) {
      buffers.push_back(session.buffer<float>(n));
      const auto values = normal(n, i);
      ring.upload(*session.stream, buffers.back().data(), values.data(), n * 4);
    }
    for (uint32_t i = 0; i < 30; ++i) {
      CAPTURE(i);
      std::vector<float> found(static_cast<size_t>(n));
      ring.download(*session.stream, found.data(), buffers[i].data(), n * 4);
      CHECK(found == normal(n, i));
    }
  });
}

TEST_CASE("uploads within what was reserved do not wait") {
  for (const SimtCase& c : kSimtCases) {
    CAPTURE(c.name);
    DeviceSession session(make_simt_device(c.options), c.threads);
    const auto& device = dynamic_cast<const SimtDevice&>(*session.device);
    StagingRing ring(*session.device, kPieceBytes);
    constexpr uint32_t kSteps = 10, kEach = 3;
    const int64_t n = 64;
    std::vector<DeviceBuffer<float>> buffers;
    std::unique_ptr<Event> done[2] = {session.device->make_event(), session.device->make_event()};
    // Steps as of a training: the host waits for each when it has enqueued the next one.
    const auto uploads_wait = [&] {
      int64_t waits = 0;
      for (uint32_t step = 0; step < kSteps; ++step) {
        const int64_t before = device.host_waits();
        for (uint32_t i = 0; i < kEach; ++i) {
          buffers.push_back(session.buffer<float>(n));
          const auto values = normal(n, static_cast<uint32_t>(buffers.size()));
          ring.upload(*session.stream, buffers.back().data(), values.data(), n * 4);
        }
        waits += device.host_waits() - before;
        session.stream->record(*done[step % 2]);
        if (step > 0) done[(step - 1) % 2]->synchronize();
      }
      session.stream->synchronize();
      return waits > 0;
    };
    CHECK(uploads_wait());
    ring.reserve(2 * kEach * n * 4);
    CHECK(!uploads_wait());
    for (size_t i = 0; i < buffers.size(); ++i) {
      CAPTURE(i);
      CHECK(session.download(buffers[i]) == normal(n, static_cast<uint32_t>(i + 1)));
    }
  }
}

TEST_CASE("a stream's own upload and download") {
  on_every_device([](DeviceSession& session, const TestKernels&) {
    const int64_t n = (int64_t{5} << 20) + 3;  // 20 MiB
    std::vector<float> values(static_cast<size_t>(n));
    for (int64_t i = 0; i < n; ++i) values[static_cast<size_t>(i)] = static_cast<float>(i % 8191);
    auto device = session.buffer<float>(n);
    session.stream->upload(device.data(), values.data(), n * 4);
    std::vector<float> found(values.size());
    session.stream->download(found.data(), device.data(), n * 4);
    CHECK(found == values);
  });
}

}  // namespace
}  // namespace wandistill::simt_test
