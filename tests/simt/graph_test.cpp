// Graphs: what is captured happens at every launch, and only then.
#include <string>

#include "tests/simt/device_session.h"
#include "wandistill/error.h"

namespace wandistill::simt_test {
namespace {

constexpr int64_t kCount = 77;

/// y = gelu(x) + gelu'(x) y's old value, as three kernels and copies, with a buffer of its own.
void work(DeviceSession& session, const DeviceBuffer<float>& x, DeviceBuffer<float>* y) {
  const OpsOf<float>& ops = session.ops<float>();
  DeviceBuffer<float> act(*session.stream, kCount), sums(*session.stream, kCount);
  ops.gelu_backward(kCount, x.data(), y->data(), act.data(), session.queue);
  ops.gelu_forward(kCount, x.data(), y->data(), session.queue);
  session.stream->fill(sums.data(), 0, kCount * 4);
  ops.add_column_sums(1, kCount, act.data(), sums.data(), session.queue);
  ops.add_column_sums(1, kCount, y->data(), sums.data(), session.queue);
  copy(*session.stream, y->data(), sums.data(), kCount);
}

TEST_CASE("graph: a launch does what the plain run does, with what lies in the buffers then") {
  on_every_device([](DeviceSession& session, const TestKernels&) {
    Stream& stream = *session.stream;
    DeviceBuffer<float> x(stream, kCount), y(stream, kCount), plain(stream, kCount);
    const auto set = [&](uint32_t seed) {
      stream.upload(x.data(), normal(kCount, seed).data(), kCount * 4);
      for (DeviceBuffer<float>* buffer : {&y, &plain})
        stream.upload(buffer->data(), normal(kCount, seed + 100).data(), kCount * 4);
    };
    set(1);
    work(session, x, &plain);
    stream.begin_capture();
    work(session, x, &y);
    const std::unique_ptr<Graph> graph = stream.end_capture();
    CHECK(session.download(y) == normal(kCount, 101));  // not done yet
    for (const uint32_t seed : {1u, 2u, 3u}) {
      set(seed);
      for (int repeat = 0; repeat < 2; ++repeat) {  // the second one goes on from the first one's result
        work(session, x, &plain);
        graph->launch(stream);
        CHECK(session.download(y) == session.download(plain));
      }
    }
    // Several launches that nobody waits for between.
    set(4);
    for (int repeat = 0; repeat < 3; ++repeat) {
      work(session, x, &plain);
      graph->launch(stream);
    }
    CHECK(session.download(y) == session.download(plain));
  });
}

/// The Error's text; nothing if there was none.
template <class Body>
std::string error_of(Body body) {
  try {
    body();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST_CASE("graph: what a capture refuses, and that it lives on") {
  on_every_device([](DeviceSession& session, const TestKernels&) {
    Stream& stream = *session.stream;
    const auto event = session.device->make_event();
    auto x = session.upload(std::vector<float>{1, 2});
    std::vector<float> host(2, 9.0f);
    CHECK(error_of([&] { stream.end_capture(); }).find("without a begin_capture") != std::string::npos);
    stream.begin_capture();
    CHECK(error_of([&] { stream.upload(x.data(), host.data(), 8); }).find("an upload within a capture") !=
          std::string::npos);
    CHECK(error_of([&] { stream.download(host.data(), x.data(), 8); }).find("a download") !=
          std::string::npos);
    CHECK(error_of([&] { stream.record(*event); }).find("record") != std::string::npos);
    CHECK(error_of([&] { stream.wait(*event); }).find("a wait") != std::string::npos);
    CHECK(error_of([&] { stream.synchronize(); }).find("a synchronize") != std::string::npos);
    CHECK(error_of([&] { stream.begin_capture(); }).find("a begin_capture") != std::string::npos);
    stream.fill(x.data(), 0, 4);
    const auto graph = stream.end_capture();
    CHECK(session.download(x) == std::vector<float>{1, 2});
    graph->launch(stream);
    CHECK(session.download(x) == std::vector<float>{0, 2});
    const auto other = session.device->make_stream();
    CHECK(error_of([&] { graph->launch(*other); }).find("another stream") != std::string::npos);
  });
}

TEST_CASE("graph: buffers live within the capture or around it") {
  on_every_device([](DeviceSession& session, const TestKernels&) {
    Stream& stream = *session.stream;
    auto before = session.upload(std::vector<float>{1, 2});
    stream.begin_capture();
    stream.fill(before.data(), 0, 8);
    before = DeviceBuffer<float>();
    CHECK(error_of([&] { stream.end_capture(); }).find("released within the capture but allocated before") !=
          std::string::npos);
    stream.begin_capture();
    {
      DeviceBuffer<float> left(stream, 2);
      CHECK(error_of([&] { stream.end_capture(); }).find("not released") != std::string::npos);
    }
    auto x = session.upload(std::vector<float>{3, 4});  // the stream works on
    CHECK(session.download(x) == std::vector<float>{3, 4});
  });
}

TEST_CASE("graph: its own buffers are fresh at every launch") {
  DeviceSession session(make_simt_device({}));
  Stream& stream = *session.stream;
  auto out = session.buffer<float>(1);
  stream.begin_capture();
  {
    DeviceBuffer<float> own(stream, 1);
    copy(stream, out.data(), own.data(), 1);
    stream.fill(own.data(), 0, 4);
  }
  const auto graph = stream.end_capture();
  for (int launch = 0; launch < 2; ++launch) {
    graph->launch(stream);
    CHECK(std::isnan(session.download(out)[0]));
  }
}

}  // namespace
}  // namespace wandistill::simt_test
