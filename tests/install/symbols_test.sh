#!/usr/bin/env bash
# symbols_test.sh LIBRARY: the shared library exports the public interface and nothing else: no symbol of gRPC, protobuf,
# Abseil or the standard library, and none that every copy in a process would share (STB_GNU_UNIQUE).
set -euo pipefail
library=$1
symbols=$(nm --dynamic --defined-only --demangle "$library")
public='^[0-9a-f]+ [TRBDVWA] (a8a_[a-z_]+@@A8A_1|A8A_1(@@A8A_1)?|(typeinfo |vtable )?a8a::(Buffer|Client|Group|Plan|Window)(::.*)?@@A8A_1)$'
others=$(grep -vE "$public" <<<"$symbols" || true)
if [ -n "$others" ]; then
  echo "exported beside the public interface:"
  echo "$others"
  exit 1
fi
for wanted in a8a_connect a8a_all_to_all 'a8a::Client::Connect' 'a8a::Group::AllToAll'; do
  grep -qF " $wanted" <<<"$symbols" || { echo "$wanted is not exported"; exit 1; }
done
echo "$(wc -l <<<"$symbols") symbols, all of the public interface"
