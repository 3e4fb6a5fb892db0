#!/usr/bin/env bash
# A table of what the compiler made of every CUDA kernel: registers, spilled bytes, static shared memory (from ptxas's
# notes, which make keeps beside the objects), dynamic shared memory (from the names of kernels/cuda/launch_shared.h in the
# object), and how many of these instructions it has (from the machine code): HMMA, HGMMA (tensor cores, by warp and by
# warpgroup), UTMALDG (bulk copies of boxes).
# usage: kernel_table.sh [OBJECT.cuda.o ...]; CUOBJDUMP names the tool. Exit code 1 if a kernel spills, or a launch
# names a kernel that is not there.
set -euo pipefail
cuobjdump=${CUOBJDUMP:-cuobjdump}
[ $# -gt 0 ] || { echo "kernel_table.sh: no objects: build with CUDA first" >&2; exit 2; }
command -v "$cuobjdump" > /dev/null || echo "no $cuobjdump here: tensor-core instructions are not counted" >&2

# mangled name, architecture, and a number per instruction.
instructions() {
  command -v "$cuobjdump" > /dev/null || return 0
  "$cuobjdump" -sass "$1" | awk '
    /^\tcode for / || /arch = / { arch = $NF }
    /Function :/ { name = $NF }
    / [U]?HMMA\./ { mma[name, arch]++; seen[name, arch] = 1 }
    /HGMMA\./ { wgmma[name, arch]++; seen[name, arch] = 1 }
    /UTMALDG\./ { tma[name, arch]++; seen[name, arch] = 1 }
    END { for (k in seen) { split(k, p, SUBSEP); print p[1], p[2], mma[k] + 0, wgmma[k] + 0, tma[k] + 0 } }'
}

{
  for object in "$@"; do
    nm "$object" | sed -n "s/^.* \\(_Z[^ ]*13launch_shared\\)/launch $(basename "$object" .cuda.o) \\1/p"
    {
      instructions "$object" | sed 's/^/I /'
      sed 's/^/P /' "${object%.o}.ptxas"
    } | awk -v file="$(basename "$object" .cuda.o)" -v counted="$(command -v "$cuobjdump" || true)" '
      $1 == "I" { mma[$2, $3] = $4; wgmma[$2, $3] = $5; tma[$2, $3] = $6; next }
      /Compiling entry function/ { name = $8; arch = $10; gsub(/\047/, "", name); gsub(/\047/, "", arch) }
      /spill stores/ { spill = $6 + $10 }
      /Used [0-9]+ registers/ {
        shared = 0
        if (match($0, /[0-9]+ bytes smem/)) shared = substr($0, RSTART, RLENGTH) + 0
        match($0, /Used [0-9]+/)
        found = counted ? (mma[name, arch] + 0) " " (wgmma[name, arch] + 0) " " (tma[name, arch] + 0) : "- - -"
        print file, arch, substr($0, RSTART + 5, RLENGTH - 5), spill, shared, found, name
      }'
  done
} | c++filt | awk '
  # A function without its return type, namespaces and argument list.
  function shorten(text,    i, depth) {
    gsub(/wandistill::/, "", text); gsub(/\(anonymous namespace\)::/, "", text); gsub(/cuda::/, "", text)
    gsub(/_GLOBAL__N__[0-9a-z_]+::/, "", text)
    sub(/^void /, "", text)
    if (text !~ /\)$/) return text
    for (i = length(text); i > 0; --i) {
      depth += (substr(text, i, 1) == ")") - (substr(text, i, 1) == "(")
      if (depth == 0) break
    }
    return substr(text, 1, i - 1)
  }
  BEGIN {
    printf "%-25s %-7s %9s %6s %7s %8s %6s %6s %8s  %s\n", "file", "arch", "registers", "spills", "static", "dynamic", "HMMA", "HGMMA", "UTMALDG", "kernel"
  }
  # launch FILE void launch_shared<&KERNEL, BYTESul, ...: KERNEL in brackets where it is an instance of a template.
  $1 == "launch" {
    name = $0
    sub(/^.*launch_shared<&/, "", name)
    match(name, /, [0-9]+ul[,>]/)
    bytes = substr(name, RSTART + 2) + 0
    name = substr(name, 1, RSTART - 1)
    if (name ~ /^\(/) name = substr(name, 2, length(name) - 2)
    dynamic[$2, shorten(name)] = bytes
    next
  }
  {
    name = $0
    for (i = 0; i < 8; ++i) sub(/^[^ ]+ /, "", name)
    name = shorten(name)
    printf "%-25s %-7s %9d %6d %7d %8d %6s %6s %8s  %s\n", $1, $2, $3, $4, $5, dynamic[$1, name], $6, $7, $8, name
    shown[$1, name] = 1
    if ($4 > 0) spills = 1
  }
  END {
    for (kernel in dynamic)
      if (!(kernel in shown)) {
        sub(SUBSEP, ": no kernel ", kernel)
        print "kernel_table.sh: " kernel ", but a launch of it" > "/dev/stderr"
        bad = 1
      }
    if (spills) print "kernel_table.sh: some kernels spill registers" > "/dev/stderr"
    exit bad || spills
  }'
