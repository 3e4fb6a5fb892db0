// The test kernels with a fault, run against plain arithmetic.
#pragma once

#include "tests/simt/device_session.h"

namespace wandistill::simt_test {

/// The largest error of attention's output and log-sum-exp; NaN if there is one in them.
double attention_tiles_error(DeviceSession& session, const TestKernels& kernels, Fault fault, int tokens);
double attention_tensor_core_error(DeviceSession& session, const TestKernels& kernels, Fault fault,
                                   int tokens);
double column_sums_error(DeviceSession& session, const TestKernels& kernels, Fault fault, int rows,
                         int columns);
/// Two streams: one feeds batches of inputs, one works on them.
double pipeline_error(DeviceSession& session, Fault fault);

// Errors below these are rounding.
constexpr double kTilesBound = 2e-5, kTensorCoreBound = 1e-2, kSumsBound = 2e-4, kPipelineBound = 1e-5;

}  // namespace wandistill::simt_test
