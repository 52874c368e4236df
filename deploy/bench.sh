#!/usr/bin/env bash
# Builds the benchmarks optimised and runs them, each beside its floor in the same run.
set -euo pipefail

usage() {
  cat <<USAGE
usage: deploy/bench.sh [FILTER]

Runs the benchmarks whose names contain FILTER (all: more than half an hour). Results, one JSON object
a line, go to standard output and to build/bench/results.jsonl (tests/bench/README.md).

TIFFIN_SKIP_SETUP=1  does not call deploy/setup.sh
USAGE
}

case ${1:-} in
  -h | --help)
    usage
    exit 0
    ;;
  -*)
    usage >&2
    exit 2
    ;;
esac

cd "$(dirname "${BASH_SOURCE[0]}")/.."
[[ ${TIFFIN_SKIP_SETUP:-0} == 1 ]] || deploy/setup.sh >&2
cmake --preset release >/dev/null
cmake --build --preset release --target tiffin_bench >&2
mkdir -p build/bench
export TIFFIN_BENCH_RESULTS=$PWD/build/bench/results.jsonl TIFFIN_BENCH_FOLDER=$PWD/build/bench
exec build/release/tests/bench/tiffin_bench "$@"
