#!/usr/bin/env bash
# Formatting, and rules that neither compiler nor clang-format knows.
set -uo pipefail
cd "$(dirname "$0")/.."
bad=0

files() { git ls-files -co --exclude-standard -- "$@" | while read -r f; do [ -f "$f" ] && echo "$f"; done; }
sources() { files '*.h' '*.cpp' '*.cu' '*.cuh'; }
scripts() { files Makefile '*.mk' '*.sh' '*.sbatch' '*.py' '*.md' .ci/run; }

# rule TEXT PATTERN FILE...: no line may match.
rule() {
  local text=$1 pattern=$2 hits
  shift 2
  [ $# -gt 0 ] || return 0
  hits=$(grep -nE -- "$pattern" "$@" /dev/null) || return 0
  echo "$hits"
  echo "lint: $text"
  bad=1
}

mapfile -t all_sources < <(sources)
# The layer under the kernels, which alone may know what is behind the wrappers.
mapfile -t above_ptx < <(files 'kernels/*' 'tests/simt/*' | grep -E '\.(h|cpp|cu|cuh)$' | grep -vE '^kernels/simt/ptx(_hopper)?\.h$')
mapfile -t assembler_free < <(printf '%s\n' "${above_ptx[@]}" | grep -v '^kernels/simt/fiber\.cpp$')
mapfile -t all_text < <((sources; scripts) | grep -v '^scripts/lint\.sh$')

rule "kernels are launched by launch() alone" '<<<' "${all_sources[@]}"
rule "shared memory is WD_SHARED or WD_DYNAMIC_SHARED: poisoned and checked" '__shared__' "${above_ptx[@]}"
rule "inline PTX stands in kernels/simt/ptx.h and ptx_hopper.h alone" '(^|[^[:alnum:]_])(__)?asm(__)?([^[:alnum:]_]|$)' "${assembler_free[@]}"
rule "kernels are the same for every compiler and GPU" '__CUDA_ARCH__|__CUDACC_VER' "${all_sources[@]}"
rule "kernels include device.h, nothing of CUDA's" '#include <(cuda|cub|cooperative_groups|thrust|mma)' "${above_ptx[@]}"
rule "no 'using namespace': names say where they come from" '^[^"/]*using namespace' "${all_sources[@]}"
rule "no absolute paths into somebody's home" '(^|[^[:alnum:]_.~-])/(home|root|Users)/' "${all_text[@]}"
rule "no tabs in sources" $'\t' "${all_sources[@]}"
rule "no white space at the end of a line" '[[:blank:]]+$' "${all_text[@]}"

# A call may have several lines.
mapfile -t kernels < <(files 'kernels/cuda/*' | grep -v '/launch_shared\.h$')
if grep -lPz '\blaunch\([^;]*Bytes' "${kernels[@]}"; then
  echo "lint: dynamic shared memory is given by launch_shared(), where the table of kernels finds it"
  bad=1
fi

while read -r lines file; do
  [ "$file" != total ] && [ "$lines" -gt 500 ] || continue
  echo "$file: $lines lines"
  echo "lint: a file has at most 500 lines"
  bad=1
done < <(wc -l "${all_sources[@]}")

if command -v clang-format > /dev/null; then
  clang-format --dry-run -Werror "${all_sources[@]}" || bad=1
else
  echo "lint: no clang-format here, formatting not checked (apt-get install clang-format)"
fi
[ "$bad" = 0 ] && echo "lint: ok"
exit $bad
