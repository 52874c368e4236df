#!/usr/bin/env bash
# Builds the benchmarks optimised and runs those whose names contain FILTER. Results, one JSON object a
# line, go to standard output and build/bench/results.jsonl.
#
#   deploy/bench.sh [FILTER]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

cmake --preset release >/dev/null
cmake --build --preset release --target tiffin_jobs_bench >&2
mkdir -p build/bench
export TIFFIN_BENCH_RESULTS=$PWD/build/bench/results.jsonl
exec build/release/tests/bench/jobs/tiffin_jobs_bench "$@"
