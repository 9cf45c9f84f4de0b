#!/usr/bin/env bash
# abi_test.sh LIBRARY INCLUDE_DIR CC CXX ABI_CC: the binary interface is the one that is kept here: what the library exports
# (liba8a.symbols), the C interface's signatures, layouts and values (abi.c), the C++ interface's layouts (ABI_CC).
set -euo pipefail
library=$1 include=$2 cc=$3 cxx=$4 abi_cc=$5
here=$(cd "$(dirname "$0")" && pwd)
status=0
fail() {
  echo "abi_test: $*" >&2
  status=1
}

if [ "$(getconf LONG_BIT)" != 64 ]; then
  echo "skipped: layouts are kept for machines of 64 bits"
  exit 77
fi
# Which every copy in a process would share, and keep loaded.
! nm --dynamic --defined-only "$library" | grep ' u ' >&2 || fail "exports unique symbols (STB_GNU_UNIQUE)"
# Abseil's inline namespace is that of its release, and no matter of ours.
exported=$(nm --dynamic --defined-only --demangle "$library" |
  sed -E 's/^[0-9a-f]+ . //; s/@@A8A_1$//; s/absl::(lts_|debian)[0-9]+::/absl::/g' | LC_ALL=C sort -u)
diff "$here/liba8a.symbols" <(printf '%s\n' "$exported") >&2 || fail "exports other symbols than $here/liba8a.symbols: what is gone\
 or changed breaks programs and takes another SOVERSION; what is new gets a line there"

"$cc" -std=gnu11 -Wall -Wextra -Werror -I "$include" -fsyntax-only "$here/abi.c" || fail "the C interface has changed"
"$cxx" -std=c++20 -Wall -Wextra -Werror -I "$include" -fsyntax-only "$abi_cc" || fail "the C++ interface has changed"

# All of it is kept.
while read -r name; do
  grep -qw "$name" "$here/abi.c" || fail "abi.c does not keep $name"
done < <(
  grep -oE '^a8a_[a-z_]+$' <<<"$exported"
  sed -nE 's/^typedef struct (\w+) \{$/\1/p; s/^  (A8A_\w+) = .*/\1/p' "$include/a8a/a8a.h"
)
while read -r name; do
  grep -qw "$name" "$abi_cc" || fail "abi.cc does not keep $name"
done < <(sed -nE 's/^(struct|enum class) (\w+) .*\{$/\2/p' "$include"/a8a/{client,group,types}.h)
[ "$status" -ne 0 ] || echo "$(wc -l <<<"$exported") symbols, and the layouts of both interfaces, are those that are kept"
exit "$status"
