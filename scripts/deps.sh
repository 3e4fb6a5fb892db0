#!/usr/bin/env bash
# What the program is built from: `deps.sh report` says what is there, `deps.sh install` installs what is not;
# `deps.sh install slurm` installs what only the tests under Slurm need.
#
# Libraries in unusual places are found through PKG_CONFIG_PATH (those with a .pc file), CPATH and LIBRARY_PATH.
set -euo pipefail

cxx=${CXX:-g++}
pkg_config=${PKG_CONFIG:-pkg-config}
cuda=${CUDA_HOME:-/usr/local/cuda}

# name | Debian package | how to find it (command, pkg-config module, header or Python module) | what it is for
table='C++ compiler|g++|command:'$cxx'|C++20 and OpenMP
pkg-config|pkg-config|command:'$pkg_config'|finds the libraries below
OpenMPI|libopenmpi-dev|module:ompi-c|ranks and their collectives
mpirun|openmpi-bin|command:mpirun|starts the ranks
HDF5|libhdf5-openmpi-dev|module:hdf5-openmpi|teacher cache, checkpoints
oneDNN|libdnnl-dev|header:oneapi/dnnl/dnnl.h|matrix products
libpng|libpng-dev|module:libpng|pictures
Boost|libboost-program-options-dev|header:boost/program_options.hpp|command line
sentencepiece|libsentencepiece-dev|module:sentencepiece|tokenizer
utf8proc|libutf8proc-dev|module:libutf8proc|prompt cleaning
nlohmann json|nlohmann-json3-dev|header:nlohmann/json.hpp|model configs
Eigen|libeigen3-dev|module:eigen3|eigenvectors for projecting the teacher
doctest|doctest-dev|header:doctest/doctest.h|tests
h5diff|hdf5-tools|command:h5diff|tests that compare checkpoints
NumPy|python3-numpy|python:numpy|(optional) how many pictures of the demo match their captions
Pillow|python3-pil|python:PIL|(optional) the same'

slurm='Slurm|slurm-wlm|command:slurmctld|tests of the job scripts
Slurm plugins|slurm-wlm-basic-plugins|command:slurmctld|PMIx among them
munge|munge|command:munged|authenticates to Slurm'

# The first of the headers that the compiler finds decides; one run of the preprocessor answers for all of them.
find_headers() {
  command -v "$cxx" > /dev/null || return 0
  local flags header
  flags=$("$pkg_config" --cflags hdf5-openmpi 2> /dev/null || true)
  for header in $(grep -o 'header:[^|]*' <<< "$table" | cut -d: -f2); do
    printf '#if __has_include(<%s>)\nFOUND %s\n#endif\n' "$header" "$header"
  done | "$cxx" -x c++ -std=c++20 -E -P $flags - 2> /dev/null | grep '^FOUND' || true
}

found() {  # found command:x|module:x|header:x|python:x
  local what=${1#*:}
  case $1 in
    command:*) command -v "$what" > /dev/null ;;
    module:*) "$pkg_config" --exists "$what" 2> /dev/null ;;
    python:*) python3 -c "import $what" 2> /dev/null || /usr/bin/python3 -c "import $what" 2> /dev/null ;;
    header:*) grep -qxF "FOUND $what" <<< "$headers" ;;
  esac
}

version() {
  case $1 in
    module:*) "$pkg_config" --modversion "${1#*:}" ;;
    command:"$cxx") "$cxx" -dumpfullversion ;;
  esac
}

missing_packages() {
  local name package how purpose
  while IFS='|' read -r name package how purpose; do
    found "$how" || echo "$package"
  done <<< "$table"
}

report_gpu() {
  echo "GPU libraries (without the first the kernels are built for the SIMT layer alone):"
  if [ -n "${NVCC:-}" ]; then
    echo "  ✓ nvcc, cuBLASLt: $NVCC"
  else
    echo "  ✗ nvcc, cuBLASLt (CUDA toolkit not found in $cuda, or CUDA=0)"
  fi
  if [ -n "${NCCL:-}" ]; then
    echo "  ✓ NCCL: $NCCL"
  else
    echo "  ✗ NCCL (for more than one GPU): NVIDIA's packages libnccl2 and libnccl-dev, or NCCL_HOME=/where/it/is"
  fi
  if [ -n "${CUDNN:-}" ]; then
    echo "  ✓ cuDNN: $CUDNN"
  else
    echo "  ✗ cuDNN (for --conv cudnn): NVIDIA's package cudnn9-cuda-13 or -12, or CUDNN_HOME=/where/it/is"
  fi
}

report() {
  local name package how purpose missing=0
  echo "Libraries and tools:"
  while IFS='|' read -r name package how purpose; do
    if found "$how"; then
      printf '  ✓ %-14s %-8s %s\n' "$name" "$(version "$how")" "$purpose"
    else
      printf '  ✗ %-14s %-8s %s; fix: make deps (or apt-get install %s)\n' "$name" missing "$purpose" "$package"
      [[ $purpose == '(optional)'* ]] || missing=1
    fi
  done <<< "$table"
  report_gpu
  return $missing
}

install() {
  local packages
  packages=$(missing_packages | tr '\n' ' ')
  [ -n "$packages" ] || return 0
  local line="apt-get update && apt-get install -y --no-install-recommends $packages"
  local as=()
  if [ "$(id -u)" != 0 ]; then
    if ! sudo -n true 2> /dev/null; then
      echo "Missing packages, and neither root nor sudo without a password. Please run:" >&2
      echo "  sudo sh -c '$line'" >&2
      return 1
    fi
    as=(sudo -n)
  fi
  if ! command -v apt-get > /dev/null; then
    echo "No apt-get here. Please install what these Debian packages hold: $packages" >&2
    return 1
  fi
  echo "Installing: $packages"
  "${as[@]}" apt-get -q update
  "${as[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends $packages
  hash -r
  headers=$(find_headers)
  packages=$(missing_packages | tr '\n' ' ')
  [ -z "$packages" ] || { echo "Still not found after installing: $packages" >&2; return 1; }
}

[ "${2:-}" != slurm ] || table=$slurm
headers=$(find_headers)
case ${1:-} in
  report) report ;;
  install) install ;;
  *) echo "usage: $0 report|install [slurm]" >&2; exit 2 ;;
esac
