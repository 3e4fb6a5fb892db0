// What a profiler would see: NVTX loads this library (NVTX_INJECTION64_PATH) at the first range, and it
// writes the ranges of every thread, one a line and indented by depth, to the file NVTX_RECORD.PROCESS.
#include <nvtx3/nvToolsExt.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>

namespace {

thread_local int depth = 0;

std::FILE* record() {
  static std::FILE* file =
      std::fopen((std::string(std::getenv("NVTX_RECORD")) + "." + std::to_string(getpid())).c_str(), "w");
  return file;
}

int push(const char* name) {
  std::fprintf(record(), "%*s%s\n", 2 * depth, "", name);
  std::fflush(record());
  return depth++;
}

int pop() {
  if (--depth < 0) std::fprintf(record(), "a range ended that had not begun\n");
  return depth;
}

}  // namespace

extern "C" int InitializeInjectionNvtx2(NvtxGetExportTableFunc_t get_export_table) {
  const auto* callbacks = static_cast<const NvtxExportTableCallbacks*>(get_export_table(NVTX_ETID_CALLBACKS));
  NvtxFunctionTable functions;
  unsigned count = 0;
  if (!callbacks || !callbacks->GetModuleFunctionTable(NVTX_CB_MODULE_CORE, &functions, &count)) return 0;
  *functions[NVTX_CBID_CORE_RangePushA] = reinterpret_cast<NvtxFunctionPointer>(push);
  *functions[NVTX_CBID_CORE_RangePop] = reinterpret_cast<NvtxFunctionPointer>(pop);
  return 1;
}
