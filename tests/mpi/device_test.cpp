// Collectives and gradient buckets on the SIMT device, in every order of its streams, and on GPUs where every
// rank has one.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>

#include "mpi_test.h"
#include "wandistill/device_gradient_buckets.h"
#include "wandistill/gradient_buckets.h"
#include "wandistill/philox.h"

namespace wandistill {
namespace {

/// body(device) on each of them.
void on_every_device(const std::function<void(Device&)>& body) {
  for (const SimtOptions& options : {SimtOptions{SimtOrder::kForward}, SimtOptions{SimtOrder::kReverse},
                                     SimtOptions{SimtOrder::kRandom, 7}})
    body(*make_simt_device(options));
  const Session& s = test_session();
  if (!s.any(cuda_device_count() < s.local_size())) body(*make_cuda_device(s.local_rank()));
}

std::vector<float> gaussian(int rank, int step, int64_t n) {
  std::vector<float> g(static_cast<size_t>(n));
  fill_gaussian(static_cast<uint64_t>(step), static_cast<uint64_t>(rank), 0, n, g.data());
  return g;
}

TEST_CASE("device collectives: sums and gathers in the streams' order [any ranks]") {
  Session& s = test_session();
  const int W = s.world_size();
  on_every_device([&](Device& device) {
    const auto first = device.make_stream(), second = device.make_stream();
    const auto collectives = make_device_collectives(s, device);
    const auto done = device.make_event();
    const int64_t n = 77;
    DeviceBuffer<float> x(*first, n), doubled(*second, n);
    DeviceBuffer<float> all(*first, n * W);
    const std::vector<float> own(static_cast<size_t>(n), static_cast<float>(s.rank() + 1));
    first->upload(x.data(), own.data(), n * 4);
    second->upload(doubled.data(), std::vector<float>(own.size(), 2.0f * own[0]).data(), n * 4);
    // On two streams: each sum takes what lies in its stream before it, and the order is one for all.
    collectives->all_gather(x.data(), all.data(), n * 4, *first);
    collectives->all_reduce_sum(doubled.data(), n, *second);
    collectives->all_reduce_sum(x.data(), n, *first);
    first->record(*done);
    collectives->wait(*done, "a test");
    std::vector<float> found(static_cast<size_t>(n)), found_all(static_cast<size_t>(n * W));
    const float total = static_cast<float>(W * (W + 1) / 2);
    first->download(found.data(), x.data(), n * 4);
    CHECK(found == std::vector<float>(found.size(), total));
    first->download(found_all.data(), all.data(), n * W * 4);
    for (int r = 0; r < W; ++r)
      CHECK(std::count(found_all.begin() + r * n, found_all.begin() + (r + 1) * n,
                       static_cast<float>(r + 1)) == n);
    second->download(found.data(), doubled.data(), n * 4);
    CHECK(found == std::vector<float>(found.size(), 2 * total));
    // In place: all ranks' parts of one buffer, this rank's filled in.
    first->fill(all.data(), 0xFF, n * W * 4);
    first->copy(all.data() + s.rank() * n, x.data(), n * 4);
    collectives->all_gather(all.data() + s.rank() * n, all.data(), n * 4, *first);
    first->download(found_all.data(), all.data(), n * W * 4);
    CHECK(found_all == std::vector<float>(found_all.size(), total));
    first->begin_capture();
    CHECK_THROWS_AS(collectives->all_reduce_sum(x.data(), n, *first), Error);
    first->end_capture();
  });
}

TEST_CASE("device gradient buckets: the host's sums, step after step [any ranks]") {
  Session& s = test_session();
  const int64_t n = 10007;
  const std::vector<Range> order = {{9000, 10007}, {8999, 9000}, {5000, 8999},
                                    {4923, 5000},  {129, 4923},  {0, 129}};
  for (const int64_t bytes : {int64_t{1}, int64_t{4096}, int64_t{1} << 30})
    on_every_device([&](Device& device) {
      CAPTURE(bytes);
      const auto compute = device.make_stream();
      const auto collectives = make_device_collectives(s, device);
      DeviceBuffer<float> g(*compute, n), seen(*compute, n);
      std::vector<float> host(static_cast<size_t>(n)), found(host.size());
      GradientBuckets expected(s, host.data(), order, bytes);
      DeviceGradientBuckets buckets(*collectives, device, g.data(), order, bytes);
      CHECK(buckets.bucket_count() == expected.bucket_count());
      for (int step = 0; step < 3; ++step) {
        // As a backward pass: each range is written before it is reported; the first thing that follows
        // wait() reads the sums, and the next step writes over them.
        const std::vector<float> own = gaussian(s.rank(), step, n);
        for (size_t i = 0; i < order.size(); ++i) {
          const Range range = order[i];
          compute->upload(g.data() + range.begin, own.data() + range.begin, range.size() * 4);
          if (step < 2)
            buckets.ready(static_cast<int64_t>(i), *compute);  // else wait() takes them as they are
        }
        buckets.wait(*compute);
        copy(*compute, seen.data(), g.data(), n);
        compute->fill(g.data(), 0xFF, n * 4);
        compute->download(found.data(), seen.data(), n * 4);
        std::copy(own.begin(), own.end(), host.begin());
        expected.wait();
        // MPI may add in another order here and there.
        double worst = 0;
        for (size_t i = 0; i < host.size(); ++i) {
          const double difference = std::abs(double{found[i]} - host[i]);
          if (!(difference <= worst)) worst = difference;  // NaN too
        }
        CHECK(worst < 2e-6);
        std::vector<float> theirs = found;
        s.broadcast(&theirs);
        CHECK(std::memcmp(theirs.data(), found.data(), sizeof(float) * found.size()) == 0);
      }
    });
}

TEST_CASE("device gradient buckets: many steps that the host does not wait for [any ranks]") {
  Session& s = test_session();
  const int64_t n = 300, steps = 5;
  on_every_device([&](Device& device) {
    const auto compute = device.make_stream();
    const auto collectives = make_device_collectives(s, device);
    DeviceBuffer<float> g(*compute, n), sums(*compute, n * steps);
    DeviceGradientBuckets buckets(*collectives, device, g.data(), {{100, n}, {0, 100}}, 1);
    for (int64_t step = 0; step < steps; ++step) {
      const std::vector<float> own(static_cast<size_t>(n), static_cast<float>(s.rank() + 10 * step));
      compute->upload(g.data() + 100, own.data() + 100, 200 * 4);
      buckets.ready(0, *compute);
      compute->upload(g.data(), own.data(), 100 * 4);
      if (s.rank() % 2 == 0) buckets.ready(1, *compute);  // ranks may differ in what they report
      buckets.wait(*compute);
      copy(*compute, sums.data() + step * n, g.data(), n);
    }
    std::vector<float> found(static_cast<size_t>(n * steps));
    compute->download(found.data(), sums.data(), n * steps * 4);
    const int W = s.world_size();
    for (int64_t step = 0; step < steps; ++step) {
      const auto begin = found.begin() + step * n;
      CHECK(std::count(begin, begin + n, static_cast<float>(W * (W - 1) / 2 + 10 * step * W)) == n);
    }
  });
}

TEST_CASE(
    "device collectives: work that an exception leaves behind does not wait for the others [any ranks]") {
  Session& s = test_session();
  on_every_device([&](Device& device) {
    const auto compute = device.make_stream();
    DeviceBuffer<float> x(*compute, 5);
    try {
      const auto collectives = make_device_collectives(s, device);
      if (s.rank() == 0) collectives->all_reduce_sum(x.data(), 5, *compute);
      fail("out of luck");
    } catch (const Error&) {
    }
    compute->synchronize();
    CHECK(s.sum(int64_t{1}) == s.world_size());
  });
}

}  // namespace
}  // namespace wandistill
