#!/usr/bin/env bash
# Shows what tiffin is for, on a fresh data folder: a recorded Noodles run is answered from the store
# the second time, and an array that was stored is read back, at last straight from its HDF5 file.
set -euo pipefail

usage() {
  cat <<USAGE
usage: deploy/demo.sh

Sets up, builds (release), starts a server of its own on a free port and a temporary folder, and
stops it at the end. Nothing stays but the build.

TIFFIN_SKIP_SETUP=1  does not call deploy/setup.sh
TIFFIN_JOBS          compilers at a time (default: one a core)
USAGE
}

case ${1:-} in
  '') ;;
  -h | --help)
    usage
    exit 0
    ;;
  *)
    usage >&2
    exit 2
    ;;
esac

cd "$(dirname "${BASH_SOURCE[0]}")/.."
# The system's Python, which deploy/setup.sh gave its modules, even if another one comes first.
python=${TIFFIN_PYTHON:-/usr/bin/python3}
[[ -x $python ]] || python=python3
recording=tests/data/noodles-jobs.jsonl

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
[[ -t 1 ]] || say() { printf '\n%s\n' "$*"; }
fail() {
  printf 'demo: FAILED: %s\n' "$*" >&2
  exit 1
}

work=$(mktemp -d)
server_pid=
cleanup() {
  local status=$?
  if [[ -n $server_pid ]]; then
    kill -TERM "$server_pid" 2>/dev/null || true
    wait "$server_pid" 2>/dev/null || true
  fi
  if ((status != 0)) && [[ -s $work/server.log ]]; then tail -n 20 "$work/server.log" >&2; fi
  rm -rf -- "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

say "1. Setting up and building (the first time takes some minutes)"
[[ ${TIFFIN_SKIP_SETUP:-0} == 1 ]] || deploy/setup.sh
cmake --preset release
cmake --build --preset release -j "${TIFFIN_JOBS:-$(nproc)}" --target tiffin_server tiffin_cli
server=$(find build/release -name tiffin-server -type f -perm -u+x -print -quit)
cli=$(find build/release -name tiffin -type f -perm -u+x -print -quit)
[[ -n $server && -n $cli ]] || fail "the build made no tiffin-server and tiffin"

say "2. Starting a server on a fresh data folder"
mkdir "$work/data"
port=$("$python" -c 'import socket
s = socket.create_server(("127.0.0.1", 0))
print(s.getsockname()[1])')
export TIFFIN_SERVER=127.0.0.1:$port
"$server" --data "$work/data" --listen "$TIFFIN_SERVER" >"$work/server.log" 2>&1 &
server_pid=$!
"$cli" health --wait 30s || fail "the server did not start"

# replay PASS [OPTION]: plays the recording and prints a row of the table.
replay() {
  "$cli" --json replay "${@:2}" "$recording" >"$work/replay.json" ||
    fail "pass $1: answers differ from those Noodles gave: $(cat "$work/replay.json")"
  "$cli" --json stats >"$work/stats.json"
  "$python" - "$1" "$work/replay.json" "$work/stats.json" <<'PYTHON'
import json, sys
report, stats = (json.load(open(name)) for name in sys.argv[2:])
stored = int(stats["blob_bytes"]) + int(stats["database_bytes"])
print(f"{sys.argv[1]:<6}{report['granted']:>9}{report['attached']:>10}{report['retrieved']:>11}"
      f"{report['seconds']:>8.2f} s{stored / 1024:>12,.0f} KiB")
PYTHON
}

say "3. Replaying a recorded Noodles run twice (25 workflows, every answer compared with Noodles')"
printf '%-6s%9s%10s%11s%10s%16s\n' pass computed attached retrieved time "bytes stored"
replay first
replay second --second

say "4. Storing arange(10)"
"$python" -c 'import sys, numpy; numpy.save(sys.argv[1], numpy.arange(10, dtype="int64"))' \
  "$work/arange.npy"
key=4Z8kdMg-CbjgTKKYlz6b-_-Tsda5VAJL44OheRB10mU=
"$cli" put "$work/arange.npy" | tee "$work/put"
grep -qF -- "$key" "$work/put" || fail "its key should be $key"

echo "read back through Deref:"
"$cli" deref "$key" -o "$work/back.npy"
"$python" - "$work/back.npy" <<'PYTHON'
import sys, numpy
array = numpy.load(sys.argv[1])
print(" ", array.dtype, array.shape, array)
assert numpy.array_equal(array, numpy.arange(10))
PYTHON

echo "after tiffin seal, straight from the HDF5 pack, with h5py:"
"$cli" seal
"$python" - "$work/data/packs" "$key" <<'PYTHON'
import pathlib, sys, h5py, numpy
for pack in sorted(pathlib.Path(sys.argv[1]).rglob("*.h5")):
    with h5py.File(pack, "r") as file:
        if sys.argv[2] in file:
            array = file[sys.argv[2]][...]
            print(f"  {pack.parent.name}/{pack.name}[{sys.argv[2]!r}]:")
            print(" ", array.dtype, array.shape, array)
            assert numpy.array_equal(array, numpy.arange(10)) and array.dtype == "int64"
            break
else:
    sys.exit("demo: FAILED: no pack holds the array")
PYTHON

say "5. Stopping the server"
kill -TERM "$server_pid"
wait "$server_pid" || fail "the server ended with exit code $?"
server_pid=

cat <<DONE
done. To start a server to keep:

  $server --data "\$HOME/tiffin-data"

and to look at it, from another terminal:

  $cli stats
DONE
