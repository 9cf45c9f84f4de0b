#!/usr/bin/env bash
# maintainer_scripts_test.sh SCRIPTS_DIR: what the scripts of a8a-daemon tell systemd, in a mount namespace in which systemd
# seems to run, and in which no container's policy forbids to start services. The programs that they call write down how; deb-systemd-invoke is the machine's own.
set -euo pipefail
scripts=$1

unshare_words=(unshare --mount)
[ "$(id -u)" -eq 0 ] || unshare_words+=(--map-root-user)
if ! command -v deb-systemd-invoke >/dev/null || ! "${unshare_words[@]}" mount -t tmpfs none /run 2>/dev/null; then
  echo "skipped: no deb-systemd-invoke here (Debian package init-system-helpers), or no mount namespace for this user"
  exit 77
fi

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
fail() {
  echo "maintainer_scripts_test: $*" >&2
  exit 1
}
# shellcheck disable=SC2016  # expanded by the program that is written
for program in systemctl systemd-sysusers deb-systemd-helper; do
  printf '#!/bin/sh\necho "%s $*" >>%s/calls\n[ "$2" != is-enabled ] || echo enabled\n' "$program" "$dir" >"$dir/$program"
  chmod 755 "$dir/$program"
done

# expect SCRIPT ARGUMENTS WANTED: WANTED are the calls that change something, in their order, each with a newline.
expect() {
  local said
  : >"$dir/calls"
  # shellcheck disable=SC2016,SC2086  # expanded inside; one word for each argument
  said=$("${unshare_words[@]}" env PATH="$dir:$PATH" sh -c '
    mount -t tmpfs none /run && mkdir -p /run/systemd/system && { [ ! -e /usr/sbin/policy-rc.d ] ||
      mount --bind /dev/null /usr/sbin/policy-rc.d; } && script=$1 && shift && exec sh "$script" "$@"' \
    sh "$scripts/$1" $2 2>&1) || fail "$1 $2 failed: $said"
  grep -vE 'is-enabled|is-active|was-enabled|unmask' "$dir/calls" >"$dir/changes" || true
  diff <(printf '%s' "$3") "$dir/changes" || fail "$1 $2: other calls than expected"
}

configured='systemd-sysusers a8a.conf
deb-systemd-helper enable a8a.socket
deb-systemd-helper enable a8a.service
systemctl --system daemon-reload
systemctl --quiet --system start a8a.socket
'
expect postinst "configure" "${configured}systemctl --quiet --system start a8a.service
"
# The socket is not restarted.
expect postinst "configure 0.1.0-1" "${configured}systemctl --quiet --system restart a8a.service
"
expect prerm "upgrade 0.2.0-1" ""
expect prerm "remove" "systemctl stop a8a.socket a8a.service
"
expect postrm "remove" "systemctl --system daemon-reload
"
expect postrm "purge" "deb-systemd-helper purge a8a.socket a8a.service
"
