#!/usr/bin/env bash
# no_failpoints_test.sh SOURCE_DIR CMAKE CXX DAEMON: a build without tests, which is what people install, has no failpoints,
# even if it is asked for them. DAEMON is of a build with tests, and has them.
set -euo pipefail
source=$1 cmake=$2 cxx=$3 daemon=$4

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
fail() {
  echo "no_failpoints_test: $*" >&2
  exit 1
}
has_failpoints() { readelf --section-headers --wide "$1" | grep -q a8a_failpoints; }

has_failpoints "$daemon" || fail "$daemon has no failpoints, so that this test would find none anywhere"
"$cmake" -S "$source" -B "$dir" -G Ninja -DCMAKE_CXX_COMPILER="$cxx" -DCMAKE_BUILD_TYPE=Release -DA8A_ENABLE_CUDA=OFF \
  -DA8A_BUILD_TESTS=OFF -DA8A_FAILPOINTS=ON >"$dir/configure.log" 2>&1 || fail "$(tail -n 5 "$dir/configure.log")"
if grep -q A8A_FAILPOINTS "$dir/compile_commands.json"; then fail "sources are compiled with failpoints"; fi
# One source that has some stands for all.
object=daemon/CMakeFiles/a8a_daemon_core.dir/memory/shared_memory.cc.o
"$cmake" --build "$dir" --target "$object" >"$dir/build.log" 2>&1 || fail "$(tail -n 5 "$dir/build.log")"
if has_failpoints "$dir/$object"; then fail "$object has failpoints"; fi
