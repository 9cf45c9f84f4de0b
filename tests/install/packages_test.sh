#!/usr/bin/env bash
# packages_test.sh BUILD_DIR CONSUMER_DIR CMAKE CPACK CC CXX: packs BUILD_DIR as deploy/package does, and lives through what
# becomes of packages: lintian looks at them, they are installed into an empty root with the machine's own packages as
# dependencies, a stranger's programs are compiled and run against that root, and a purge leaves nothing of them.
set -euo pipefail
build=$1 consumer=$2 cmake=$3 cpack=$4 cc=$5 cxx=$6

for tool in dpkg dpkg-shlibdeps lintian deb-systemd-helper systemd-sysusers file; do
  command -v "$tool" >/dev/null || {
    echo "skipped: no $tool here (deploy/packages-package.txt, deploy/packages-test.txt)"
    exit 77
  }
done
# dpkg sets owners; whoever is not root is so in a namespace of its own.
if [ "$(id -u)" -ne 0 ]; then
  unshare --map-root-user true 2>/dev/null || {
    echo "skipped: this user is not root, and may not make a namespace in which it is"
    exit 77
  }
  exec unshare --map-root-user "$0" "$@"
fi
umask 022

dir=$(mktemp -d)
# shellcheck source-path=SCRIPTDIR source=daemon.sh
source "$(dirname "${BASH_SOURCE[0]}")/daemon.sh"
clean_up() {
  stop_daemon
  rm -rf "$dir"
}
trap clean_up EXIT
root=$dir/root
# The scripts of the packages run on this machine, and are told of the root by DPKG_ROOT.
root_dpkg() { dpkg --root="$root" --log="$dir/dpkg.log" --force-script-chrootless "$@"; }
# What is in the root, but for dpkg's own books and those of users, who stay.
files_of_root() {
  (cd "$root" && find . -path ./var/lib/dpkg -prune -o -print) |
    grep -vE '^\./etc/(passwd|group|shadow|gshadow)-?$|^\./etc/\.pwd\.lock$' | sort
}

echo "-- pack"
# Not xz as when it counts, which takes longer than all the rest.
"$cpack" --config "$build/CPackConfig.cmake" -D CPACK_DEBIAN_COMPRESSION_TYPE=gzip -B "$dir/packages" \
  >"$dir/cpack.log" 2>&1 || fail "$(tail -n 20 "$dir/cpack.log")"
debs=("$dir"/packages/*.deb)
for package in a8a-daemon liba8a1 liba8a-dev a8a-tools a8a-doc; do
  ls "$dir/packages/${package}_"*.deb >/dev/null || fail "no package $package"
done
[ "${#debs[@]}" -eq 5 ] || fail "${#debs[@]} packages, expected 5: ${debs[*]}"

echo "-- every file of the install is in one package"
"$cmake" --install "$build" --prefix "$dir/all/usr" >"$dir/install.log" || fail "$(tail -n 5 "$dir/install.log")"
(cd "$dir/all" && find . ! -type d) | sort >"$dir/installed"
for deb in "${debs[@]}"; do
  dpkg-deb --fsys-tarfile "$deb" | tar -t
done | sed -E '/\/$/d; /^\.\/usr\/share\/(doc\/[^/]*\/(copyright|changelog.*)|doc\/a8a-daemon\/README.md|lintian\/.*)$/d
  s/(\/man[0-9]\/.*)\.gz$/\1/' | sort >"$dir/packed"
diff "$dir/installed" "$dir/packed" || fail "the install and the packages differ"

echo "-- lintian"
# Of uploads to Debian, which close the bug that asked for them.
not_for_us=initial-upload-closes-no-bugs
# It leaves files in TMPDIR.
TMPDIR=$dir lintian --fail-on error,warning --tag-display-limit 0 --suppress-tags "$not_for_us" "${debs[@]}" ||
  fail "lintian objects"

echo "-- dependencies"
mkdir -p "$root"/{etc/systemd/system,usr/lib,run,var/lib/systemd,var/lib/dpkg/info,var/lib/dpkg/updates,var/lib/dpkg/triggers}
ln -s usr/lib "$root/lib"
touch "$root/usr/lib/os-release"
# The packages of this machine are there, by the books; a dependency that none of them meets is an error.
awk 'BEGIN { RS = ""; ORS = "\n\n" } !/(^|\n)Package: (a8a-|liba8a)/' /var/lib/dpkg/status >"$root/var/lib/dpkg/status"
files_of_root >"$dir/before"
if root_dpkg --install "$dir"/packages/liba8a-dev_*.deb >"$dir/dev.log" 2>&1; then
  fail "liba8a-dev can be configured without liba8a1"
fi
grep -q 'liba8a-dev depends on liba8a1 (= ' "$dir/dev.log" || fail "no exact dependency: $(grep depends "$dir/dev.log")"
root_dpkg --purge liba8a-dev >"$dir/dev.log" 2>&1 || fail "$(cat "$dir/dev.log")"

echo "-- install"
root_dpkg --install "${debs[@]}" >"$dir/dpkg.out" 2>&1 || fail "$(grep -v 'files list file' "$dir/dpkg.out")"
enabled() {
  [ -L "$root/etc/systemd/system/multi-user.target.wants/a8a.service" ] &&
    [ -L "$root/etc/systemd/system/sockets.target.wants/a8a.socket" ]
}
enabled || fail "the units are not enabled"
grep -q '^a8a:' "$root/etc/passwd" || fail "no user a8a"
grep -qx 'ExecStart=/usr/bin/a8a-daemon' "$root/usr/lib/systemd/system/a8a.service" || fail "a8a.service runs another daemon"

echo "-- an upgrade leaves disabled what was disabled"
rm "$root/etc/systemd/system/multi-user.target.wants/a8a.service" "$root/etc/systemd/system/sockets.target.wants/a8a.socket"
root_dpkg --install "$dir"/packages/a8a-daemon_*.deb >"$dir/dpkg.out" 2>&1 ||
  fail "$(grep -v 'files list file' "$dir/dpkg.out")"
! enabled || fail "the upgrade has enabled the units again"

echo "-- compile against the root, and run with its daemon"
lib_dir=$(dirname "$(find "$root/usr/lib" -name liba8a.so)")
pkg_flags=$(PKG_CONFIG_PATH="$lib_dir/pkgconfig" pkg-config --cflags --libs a8a)
grep -qF "$root/usr/" <<<"$pkg_flags" || fail "pkg-config does not find the root: $pkg_flags"
# shellcheck disable=SC2086  # flags are words
"$cxx" -std=c++20 "$consumer/consumer.cc" -o "$dir/consumer_cxx" $pkg_flags || fail "consumer.cc does not build"
# shellcheck disable=SC2086
"$cc" -std=c11 "$consumer/consumer.c" -o "$dir/consumer_c" $pkg_flags || fail "consumer.c does not build"
mkdir "$dir/run"
start_daemon "$root/usr/bin/a8a-daemon" "$dir"
for program in consumer_cxx consumer_c; do
  LD_LIBRARY_PATH="$lib_dir" "$dir/$program" "$dir/run" || fail "$program failed"
done
"$root/usr/bin/a8actl" --runtime-dir "$dir/run" status >"$dir/status" || fail "a8actl: $(cat "$dir/status")"
"$root/usr/bin/a8a-dp-mla" --runtime-dir "$dir/run" --world-size 2 --layers 1 --steps 1 --quiet >"$dir/job" ||
  fail "a8a-dp-mla failed, with the trace of its package"
stop_daemon

echo "-- remove, purge"
root_dpkg --remove a8a-daemon >"$dir/dpkg.out" 2>&1 || fail "$(grep -v 'files list file' "$dir/dpkg.out")"
mkdir "$root/run/a8a"
touch "$root/run/a8a/state"
root_dpkg --purge a8a-daemon liba8a1 liba8a-dev a8a-tools a8a-doc >"$dir/dpkg.out" 2>&1 ||
  fail "$(grep -v 'files list file' "$dir/dpkg.out")"
files_of_root >"$dir/after"
diff "$dir/before" "$dir/after" || fail "a purge leaves files"

echo "-- the archive"
mkdir "$dir/local"
tar -C "$dir/local" --strip-components=1 -xzf "$dir"/packages/*.tar.gz
"$dir/local/bin/a8actl" --version || fail "a8actl of the archive does not run"
grep -qx 'ExecStart=/usr/local/bin/a8a-daemon' "$dir/local/lib/systemd/system/a8a.service" ||
  fail "a8a.service of the archive is not for /usr/local"
[ -s "$dir/local/LICENSE" ] || fail "the archive has no license"
