// The project's kernels against their twins, and the test kernels against plain arithmetic.
#include "tests/simt/subjects.h"
#include "tests/simt/typed.h"

namespace wandistill::simt_test {
namespace {

const Queue kHost{};

template <class T>
void test_column_sums(DeviceSession& session, int64_t rows, int64_t columns, int64_t offset) {
  CAPTURE(rows);
  CAPTURE(columns);
  CAPTURE(offset);
  const auto x = rounded<T>(normal(rows * columns, 1));
  std::vector<float> sums(static_cast<size_t>(columns), 3.0f);
  const Guarded<T> device_x(session, x, offset);
  Guarded<float> device_sums(session, sums);
  ref::add_column_sums(rows, columns, x.data(), sums.data(), kHost);
  session.ops<T>().add_column_sums(rows, columns, device_x.data(), device_sums.data(), session.queue);
  CHECK(difference(device_sums.values(), sums) <= 1e-5 * std::sqrt(double(rows)));
}

TEST_CASE("column sums, added to what is there") {
  on_every_device([](DeviceSession& session, const TestKernels&) {
    for (const int64_t rows : sizes_and({300}))
      for (const int64_t columns : {1, 5, 77, 128, 132})
        for (const int64_t offset : {0, 1}) {  // 1: not aligned
          test_column_sums<float>(session, rows, columns, offset);
          test_column_sums<bf16>(session, rows, columns, offset);
        }
  });
  // As many parts as there can be, of uneven rows.
  DeviceSession session(make_simt_device({}), 2);
  test_column_sums<float>(session, 64 * 128 + 77, 5, 0);
}

TEST_CASE("test kernels: attention and column sums") {
  on_every_device([](DeviceSession& session, const TestKernels& kernels) {
    for (const int tokens : {1, 5, 7, 64, 77, 129, 257}) {
      CAPTURE(tokens);
      CHECK(attention_tensor_core_error(session, kernels, Fault::kNone, tokens) <= kTensorCoreBound);
      if (tokens <= 129) CHECK(attention_tiles_error(session, kernels, Fault::kNone, tokens) <= kTilesBound);
    }
    CHECK(column_sums_error(session, kernels, Fault::kNone, 131, 264) <= kSumsBound);
    CHECK(pipeline_error(session, Fault::kNone) <= kPipelineBound);
  });
}

}  // namespace
}  // namespace wandistill::simt_test
