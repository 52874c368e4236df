#!/usr/bin/env bash
# Builds the benchmarks optimised and runs them, each beside its floor in the same run.
set -euo pipefail

usage() {
  cat <<USAGE
usage: deploy/bench.sh [FILTER] [--plot]

Runs the benchmarks whose names contain FILTER (all: more than half an hour) and prints a table. Results, one JSON
object a line, are added to build/bench/results.jsonl (tests/bench/README.md).

--plot  of sha256: draws time against size to build/bench/sha256.svg (with gnuplot, which is installed)

TIFFIN_SKIP_SETUP=1  does not call deploy/setup.sh
USAGE
}

filter='' plot=
for argument in "$@"; do
  case $argument in
    -h | --help)
      usage
      exit 0
      ;;
    --plot) plot=--plot ;;
    -*)
      usage >&2
      exit 2
      ;;
    *) filter=$argument ;;
  esac
done
if [[ -n $plot && sha256 != *"$filter"* ]]; then
  echo "bench: --plot draws the results of sha256, which '$filter' leaves out" >&2
  exit 2
fi

cd "$(dirname "${BASH_SOURCE[0]}")/.."
[[ ${TIFFIN_SKIP_SETUP:-0} == 1 ]] || deploy/setup.sh ${plot:+"$plot"} >&2
cmake --preset release >/dev/null
cmake --build --preset release --target tiffin_bench >&2
mkdir -p build/bench
export TIFFIN_BENCH_RESULTS=$PWD/build/bench/results.jsonl TIFFIN_BENCH_FOLDER=$PWD/build/bench
build/release/tests/bench/tiffin_bench "$filter"
if [[ -n $plot ]]; then
  tests/bench/plot_sha256.py build/bench/results.jsonl build/bench/sha256.svg | gnuplot
  echo "build/bench/sha256.svg"
fi
