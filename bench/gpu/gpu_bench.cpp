// Every op on a GPU at the sizes that it is meant for, whole decodes and training steps, each held against
// what the same run measured at best. The JSON lines are what bench/gpu_peers.py goes on from.
#include <boost/program_options.hpp>
#include <iostream>

#include "bench/gpu/device_bench.h"
#include "wandistill/file.h"

namespace wandistill::bench {
namespace {

int run(int argc, char** argv) {
  namespace po = boost::program_options;
  std::string device, out;
  po::options_description options("gpu_bench times the kernels on a GPU");
  options.add_options()("help", "this text")("device", po::value(&device)->default_value("cuda"),
                                             "cuda; or simt: everything once, on small tensors, by the CPU")(
      "out", po::value(&out), "a file for the JSON lines (else they come at the end of the table)");
  po::variables_map values;
  try {
    po::store(po::parse_command_line(argc, argv, options), values);
    po::notify(values);
    if (device != "cuda" && device != "simt")
      throw po::error("--device: '" + device + "' is none of cuda, simt");
  } catch (const po::error& e) {
    std::cerr << "gpu_bench: " << e.what() << "\n" << options;
    return 2;
  }
  if (values.count("help")) {
    std::cout << options;
    return 0;
  }
  if (device == "cuda" && cuda_device_count() == 0) {
    std::cout << "gpu_bench: this machine has no GPU, or this program was built without CUDA; nothing was "
                 "measured\n";
    return 0;
  }
  const ComputeDevice compute(device, bench_threads(), 0);
  DeviceBench bench(compute, device == "simt");
  for (const auto part : {bench_products, bench_attention, bench_row_ops, bench_elementwise,
                          bench_sampling_ops, bench_vae_ops, bench_vae_decode, bench_transformer})
    part(bench);
  if (!out.empty()) {
    if (const std::filesystem::path folder = std::filesystem::path(out).parent_path(); !folder.empty())
      make_directories(folder);
    bench.report.write_lines(out);
  }
  return 0;
}

}  // namespace
}  // namespace wandistill::bench

int main(int argc, char** argv) {
  try {
    return wandistill::bench::run(argc, argv);
  } catch (const std::exception& e) {
    std::cerr << "gpu_bench: " << e.what() << "\n";
    return 1;
  }
}
