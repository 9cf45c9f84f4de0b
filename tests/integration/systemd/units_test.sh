#!/usr/bin/env bash
# units_test.sh SOURCE BUILD CMAKE DAEMON: the units and the user, as they are installed, are what systemd's own tools
# accept; the exposure of the service is at most 3.0, and deploy/README.md gives a reason for each line that is left.
set -euo pipefail

source=$1 build=$2 cmake=$3 daemon=$4
EXPOSURE_MAX=30 # of 100, as --threshold= counts

fail() {
  printf 'FAIL: %s\n' "$*"
  exit 1
}

for tool in systemd-analyze systemd-sysusers python3; do
  command -v "$tool" >/dev/null || {
    echo "skipped: no $tool here (Debian package systemd, python3)"
    exit 77
  }
done

directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT

"$cmake" -DCMAKE_INSTALL_PREFIX="$directory/usr" -P "$build/deploy/cmake_install.cmake" >/dev/null
units=$directory/usr/lib/systemd/system
users=$directory/usr/lib/sysusers.d/a8a.conf
for file in "$units/a8a.socket" "$units/a8a.service" "$users"; do
  [ -f "$file" ] || fail "$file was not installed"
done

# Only deploy/ was installed.
mkdir "$directory/usr/bin"
ln -s "$daemon" "$directory/usr/bin/a8a-daemon"
grep -qx "ExecStart=$directory/usr/bin/a8a-daemon" "$units/a8a.service" || fail "a8a.service does not run what is installed"
said=$(systemd-analyze verify --man=no "$units/a8a.service" "$units/a8a.socket" 2>&1) || fail "verify: $said"
[ -z "$said" ] || fail "verify: $said"

systemd-analyze security --offline=yes --no-pager --threshold="$EXPOSURE_MAX" "$units/a8a.service" >"$directory/exposure" ||
  fail "exposure above 3.0: $(tail -n 1 "$directory/exposure")"
tail -n 1 "$directory/exposure"

# Both ways: no line without a reason, no reason for what is not there. Other versions of systemd have other lines.
systemd-analyze security --offline=yes --json=short "$units/a8a.service" >"$directory/exposure.json"
python3 - "$directory/exposure.json" "$source/deploy/README.md" "$(systemd-analyze --version | awk 'NR==1 {print $2}')" <<'PYTHON'
import json, re, sys

left = {line["name"] for line in json.load(open(sys.argv[1])) if line["exposure"] and float(line["exposure"]) > 0}
section = open(sys.argv[2]).read().partition("### What the service may do")[2].partition("\n#")[0]
reasons = {name for row in re.findall(r"^\| (`.*?) \|", section, re.M) for name in re.findall(r"`([^`]+)`", row)}
if left - reasons:
    sys.exit(f"FAIL: deploy/README.md has no reason for {sorted(left - reasons)}")
if sys.argv[3] == "252" and reasons - left:
    sys.exit(f"FAIL: deploy/README.md has reasons for what is not left: {sorted(reasons - left)}")
PYTHON

# With the drop-in that lets metrics out on a port: still clean, and the port can be made.
dropin=$directory/usr/share/a8a/metrics-port.conf
[ -f "$dropin" ] || fail "$dropin was not installed"
install -D -m 644 "$dropin" "$units/a8a.service.d/metrics-port.conf"
said=$(systemd-analyze verify --man=no "$units/a8a.service" 2>&1) || fail "verify with the drop-in: $said"
[ -z "$said" ] || fail "verify with the drop-in: $said"
systemd-analyze security --offline=yes --json=short "$units/a8a.service" >"$directory/exposure-port.json"
python3 - "$directory/exposure.json" "$directory/exposure-port.json" <<'PYTHON'
import json, sys

before, after = ({line["name"]: line["set"] for line in json.load(open(path))} for path in sys.argv[1:])
given_up = {name for name in before if before[name] and not after[name]}
# The second by its exception for localhost.
if given_up != {"PrivateNetwork=", "IPAddressDeny=", "RestrictAddressFamilies=~AF_(INET|INET6)"}:
    sys.exit(f"FAIL: metrics-port.conf gives up {sorted(given_up)}")
PYTHON
rm -r "$units/a8a.service.d"

mkdir -p "$directory/root/etc"
systemd-sysusers --root="$directory/root" "$users" >/dev/null || fail "systemd-sysusers refuses a8a.conf"
grep -q '^a8a:.*:/usr/sbin/nologin$' "$directory/root/etc/passwd" || fail "no user a8a"
grep -q '^a8a:' "$directory/root/etc/group" || fail "no group a8a"
grep -q '^video:.*a8a' "$directory/root/etc/group" || fail "a8a is not in group video"
for setting in User=a8a Group=a8a; do
  grep -qx "$setting" "$units/a8a.service" || fail "a8a.service lacks $setting, whom a8a.conf makes"
done
for setting in SocketUser=a8a SocketGroup=a8a SocketMode=0660; do
  grep -qx "$setting" "$units/a8a.socket" || fail "a8a.socket lacks $setting"
done
echo "the units are clean"
