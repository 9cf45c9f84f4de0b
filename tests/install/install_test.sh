#!/usr/bin/env bash
# install_test.sh BUILD_DIR CONSUMER_DIR CMAKE CXX DAEMON: installs BUILD_DIR into a temporary prefix, moves it, builds the
# consumer against it with find_package (shared and static) and with pkg-config, and runs each against a real daemon.
set -euo pipefail
build=$1 consumer=$2 cmake=$3 cxx=$4 daemon=$5

dir=$(mktemp -d)
# shellcheck source-path=SCRIPTDIR source=daemon.sh
source "$(dirname "${BASH_SOURCE[0]}")/daemon.sh"
clean_up() {
  stop_daemon
  rm -rf "$dir"
}
trap clean_up EXIT

echo "-- install, and move what was installed"
"$cmake" --install "$build" --prefix "$dir/first" >"$dir/install.log" || fail "$(tail -n 5 "$dir/install.log")"
mv "$dir/first" "$dir/prefix"
for file in include/a8a/client.h include/a8a/a8a.h bin/a8a-daemon bin/a8a-dp-mla; do
  [ -e "$dir/prefix/$file" ] || fail "$file was not installed"
done
if grep -rnE '#include.*(grpc|google/protobuf|\.pb\.h|kernels/|proto/|client/src)' "$dir/prefix/include"; then
  fail "a public header includes what is not public"
fi

echo "-- find_package, shared and static"
"$cmake" -S "$consumer" -B "$dir/build" -DCMAKE_PREFIX_PATH="$dir/prefix" -DCMAKE_CXX_COMPILER="$cxx" \
  -DCMAKE_BUILD_TYPE=Debug >"$dir/configure.log" 2>&1 || fail "$(tail -n 20 "$dir/configure.log")"
"$cmake" --build "$dir/build" >"$dir/build.log" 2>&1 || fail "$(tail -n 20 "$dir/build.log")"

echo "-- pkg-config"
pc_dir=$(dirname "$(find "$dir/prefix" -name a8a.pc)")
# shellcheck disable=SC2046  # flags are words
"$cxx" -std=c++20 "$consumer/consumer.cc" -o "$dir/consumer_pkgconfig" \
  $(PKG_CONFIG_PATH="$pc_dir" pkg-config --cflags --libs a8a) || fail "does not build with pkg-config"

echo "-- without a daemon"
lib_dir=$(dirname "$pc_dir")
export LD_LIBRARY_PATH="$lib_dir"
mkdir "$dir/run"
if "$dir/build/consumer_shared" "$dir/run" 2>"$dir/no_daemon"; then fail "the consumer ran without a daemon"; fi
grep -q "UNAVAILABLE.*$dir/run/a8a.sock" "$dir/no_daemon" || fail "no clear error: $(cat "$dir/no_daemon")"

echo "-- with a daemon"
start_daemon "$dir/prefix/bin/$(basename "$daemon")" "$dir"
for program in build/consumer_shared build/consumer_static build/consumer_c consumer_pkgconfig; do
  "$dir/$program" "$dir/run" || fail "$program failed"
done
