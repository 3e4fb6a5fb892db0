// Ranks that share the optimizer's state: who keeps what, the sums they get, the steps they make together.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "mpi_test.h"
#include "src/train/optimizer.h"
#include "wandistill/philox.h"

namespace wandistill {
namespace {

/// Buckets of one, two and three numbers among them: fewer than ranks; none divides by the number of ranks.
const std::vector<Range> kOrder = {{9000, 10007}, {8999, 9000}, {8997, 8999}, {5000, 8996},
                                   {129, 5000},   {3, 129},     {0, 3}};
constexpr int64_t kTotal = 10007;

std::vector<float> gaussian(int rank, int64_t step, int64_t n) {
  std::vector<float> g(static_cast<size_t>(n));
  fill_gaussian(static_cast<uint64_t>(step), static_cast<uint64_t>(rank), 0, n, g.data());
  return g;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

TEST_CASE("shard: every number is kept by one rank, for any number of ranks [any ranks]") {
  const std::vector<float> values = gaussian(0, 1, kTotal);
  for (const int64_t bytes : {int64_t{1}, int64_t{4096}, int64_t{1} << 30})
    for (int W = 1; W <= 5; ++W) {
      std::vector<int> keepers(static_cast<size_t>(kTotal));
      for (int r = 0; r < W; ++r) {
        const Shard shard(kOrder, bytes, W, r);
        std::vector<float> kept(static_cast<size_t>(shard.size()), -7.0f), bit_by_bit = kept;
        shard.keep({0, kTotal}, values.data(), kept.data());
        for (int64_t at = 0; at < kTotal; at += 77) {
          const int64_t end = std::min(at + 77, kTotal);
          shard.keep({at, end}, values.data() + at, bit_by_bit.data());
        }
        CHECK(same_bits(kept, bit_by_bit));
        int64_t next = 0;
        for (const Shard::Piece& piece : shard.pieces()) {
          CHECK(piece.at == next);
          next += piece.own.size();
          for (int64_t i = piece.own.begin; i < piece.own.end; ++i) {
            ++keepers[static_cast<size_t>(i)];
            CHECK(kept[static_cast<size_t>(piece.at + i - piece.own.begin)] ==
                  values[static_cast<size_t>(i)]);
          }
        }
        CHECK(next == shard.size());
        CHECK(shard.size() <= kTotal / W + static_cast<int64_t>(kOrder.size()) * W);
      }
      // The order leaves one number out.
      CHECK(std::count(keepers.begin(), keepers.end(), 1) == kTotal - 1);
      CHECK(keepers[8996] == 0);
    }
}

TEST_CASE("gradient buckets: a rank's shard has the bits of the whole sums [any ranks]") {
  const Session& s = test_session();
  if (s.world_size() == 1) return;
  for (const int64_t bytes : {int64_t{1}, int64_t{4096}, int64_t{1} << 30}) {
    const Shard shard(kOrder, bytes, s.world_size(), s.rank());
    std::vector<float> whole(kTotal), g(kTotal), own(static_cast<size_t>(shard.size())), expected = own;
    GradientBuckets sums(s, whole.data(), kOrder, bytes), shards(s, g.data(), kOrder, bytes, own.data());
    for (int step = 0; step < 3; ++step) {
      const std::vector<float> values = gaussian(s.rank(), step, kTotal);
      std::copy(values.begin(), values.end(), whole.begin());
      std::copy(values.begin(), values.end(), g.begin());
      std::fill(own.begin(), own.end(), -7.0f);
      for (size_t i = 0; step < 2 && i < kOrder.size(); ++i) shards.ready(static_cast<int64_t>(i));
      shards.wait();
      sums.wait();
      shard.keep({0, kTotal}, whole.data(), expected.data());
      CHECK(same_bits(own, expected));
    }
    // And back: every rank knows its pieces, then all.
    std::vector<float> flat(kTotal, -7.0f);
    for (const Shard::Piece& piece : shard.pieces())
      std::copy_n(own.begin() + piece.at, piece.own.size(), flat.begin() + piece.own.begin);
    flat[8996] = whole[8996];
    gather_pieces(s, shard, flat.data());
    CHECK(same_bits(flat, whole));
  }
}

const AdamWStep kStep{.lr = 1e-2f,
                      .beta1 = 0.9f,
                      .beta2 = 0.95f,
                      .eps = 1e-8f,
                      .weight_decay = 0.1f,
                      .clip = 1,
                      .ema_decay = 0.999f};

const ParameterLayout& layout() {
  static const ParameterLayout layout(WanConfig{.heads = 1,
                                                .head_dim = 6,
                                                .layers = 3,
                                                .ffn_dim = 9,
                                                .in_channels = 3,
                                                .out_channels = 3,
                                                .text_dim = 5,
                                                .freq_dim = 8});
  return layout;
}

TrainingState start(const Shard& shard) {
  TrainingState state;
  for (size_t i = 0; i < kSections.size(); ++i) {
    std::vector<float> values = gaussian(0, 100 + static_cast<int64_t>(i), layout().total());
    for (float& v : values) v = std::abs(v);  // a second moment is not negative
    Buffer<float> kept(shard.size());
    shard.keep({0, layout().total()}, values.data(), kept.data());
    *state.sections()[i] = OpBuffer<float>(std::move(kept));
  }
  return state;
}

/// One optimizer, and what it makes on the host.
struct Run {
  Run(const Compute& at, Dtype dtype, bool shares, int64_t bytes)
      : compute(at),
        shard(
            shares && test_session().world_size() > 1
                ? Shard(layout().gradient_order(), bytes, test_session().world_size(), test_session().rank())
                : Shard::whole(layout().total())),
        element(dtype == Dtype::kBfloat16 ? 2 : 4),
        optimizer(test_session(), at, layout(), dtype, shard, bytes, start(shard)) {}

  /// As a backward pass: every group is written before it is reported.
  void step(const std::vector<float>& own) {
    optimizer.clear_gradients();
    const std::vector<Range>& order = layout().gradient_order();
    for (size_t i = 0; i < order.size(); ++i) {
      upload(compute, optimizer.gradients() + order[i].begin, own.data() + order[i].begin, order[i].size());
      optimizer.ready(static_cast<int64_t>(i));
    }
    optimizer.wait_for_sums();
    optimizer.update(kStep);
    // Between the session's collectives ranks wait at the same places.
    if (!compute.on_host()) wait();
  }

  void wait() const {
    const auto done = compute.device->make_event();
    compute.stream->record(*done);
    compute.collectives->wait(*done, "a test");
  }

  std::vector<char> bytes_of(const void* values) const {
    std::vector<char> bytes(static_cast<size_t>(layout().total() * element));
    download(compute, bytes.data(), static_cast<const char*>(values), static_cast<int64_t>(bytes.size()));
    return bytes;
  }
  std::vector<char> weights() { return bytes_of(optimizer.weights().identity()); }
  std::vector<char> average() { return bytes_of(optimizer.averaged_weights().identity()); }
  std::vector<float> section(size_t i) {
    std::vector<float> values(static_cast<size_t>(layout().total()));
    download(compute, values.data(), optimizer.whole(i), layout().total());
    return values;
  }
  UpdateState decision() const {
    UpdateState state;
    download(compute, &state, optimizer.update_state(), 1);
    return state;
  }

  const Compute& compute;
  const Shard shard;
  const int64_t element;
  Optimizer optimizer;
};

void check_equal_on_all_ranks(const std::vector<char>& own) {
  std::vector<char> theirs = own;
  test_session().broadcast(&theirs);
  CHECK(theirs == own);
}

/// exact: the sums are made in the same order.
void check_sharing(const Compute& compute, Dtype dtype, int64_t bytes, bool exact) {
  const Session& s = test_session();
  Run alone(compute, dtype, false, bytes), shared(compute, dtype, true, bytes);
  CHECK(shared.weights() == alone.weights());
  for (int64_t step = 0; step < 5; ++step) {
    CAPTURE(step);
    std::vector<float> own = gaussian(s.rank(), step, layout().total());
    const bool broken = step == 2;  // on the last rank alone, in a number that one rank keeps
    if (broken && s.rank() == s.world_size() - 1) own[5] = std::numeric_limits<float>::quiet_NaN();
    const std::vector<char> before = shared.weights();
    alone.step(own);
    shared.step(own);
    CHECK(shared.decision().skip == (broken ? 1 : 0));
    CHECK(shared.decision().skipped == (step >= 2 ? 1 : 0));
    CHECK((shared.weights() == before) == broken);
    check_equal_on_all_ranks(shared.weights());
    check_equal_on_all_ranks(shared.average());
    if (exact) CHECK(shared.weights() == alone.weights());
    if (exact) CHECK(shared.average() == alone.average());
    for (size_t i = 0; i < kSections.size(); ++i) {
      const std::vector<float> mine = shared.section(i), expected = alone.section(i);
      double worst = 0;
      for (size_t k = 0; k < mine.size(); ++k) {
        const double difference = std::abs(double{mine[k]} - expected[k]);
        if (!(difference <= worst)) worst = difference;  // NaN too
      }
      CHECK(worst <= (exact ? 0 : 1e-5));
    }
  }
}

TEST_CASE(
    "optimizer: ranks that share its state make the step of those that do not, on the host [any ranks]") {
  const Compute host{Queue{1}};
  for (const int64_t bytes : {int64_t{1}, int64_t{1000}, int64_t{1} << 30})
    check_sharing(host, Dtype::kFloat32, bytes, true);
}

TEST_CASE("optimizer: and on SIMT devices, in both types [any ranks]") {
  Session& s = test_session();
  const ComputeDevice device(s, "simt", "own");
  for (const Dtype dtype : {Dtype::kFloat32, Dtype::kBfloat16})
    for (const int64_t bytes : {int64_t{1}, int64_t{1} << 30})
      check_sharing(device.compute(), dtype, bytes, s.world_size() <= 2);
}

}  // namespace
}  // namespace wandistill
