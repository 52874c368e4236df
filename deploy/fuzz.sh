#!/usr/bin/env bash
# Fuzzes with clang's libFuzzer: each target of tests/fuzz for as long as is told, from its seeds and what earlier
# runs came upon. An input that fails is kept, and the last lines say how to repeat it.
set -euo pipefail

usage() {
  cat <<USAGE
usage: deploy/fuzz.sh [SECONDS] [TARGET...]

SECONDS  how long each target runs (default: 600)
TARGET   json, message … (default: all of tests/fuzz, one after the other)

Exit code 1 if an input failed; it lies in build/fuzz/failed. What else is worth keeping lies in build/fuzz/corpus/TARGET.

TIFFIN_SKIP_SETUP=1  does not call deploy/setup.sh
TIFFIN_JOBS          compilers at a time (default: one a core)
USAGE
}

seconds=600
case ${1:-} in
  -h | --help)
    usage
    exit 0
    ;;
  [0-9]*)
    seconds=$1
    shift
    ;;
esac

cd "$(dirname "${BASH_SOURCE[0]}")/.."
targets=("$@")
if (($# == 0)); then
  for source in tests/fuzz/*_fuzzer.cc; do targets+=("$(basename "$source" _fuzzer.cc)"); done
fi
for target in "${targets[@]}"; do
  if [[ $seconds == *[!0-9]* || ! -f tests/fuzz/${target}_fuzzer.cc ]]; then
    usage >&2
    exit 2
  fi
done

[[ ${TIFFIN_SKIP_SETUP:-0} == 1 ]] || deploy/setup.sh --fuzz
cmake --preset fuzz
cmake --build --preset fuzz -j "${TIFFIN_JOBS:-$(nproc)}" --target "${targets[@]/%/_fuzzer}"

# Servers that run in a target have their folders here: in memory, if possible.
above=${TMPDIR:-/tmp}
[[ ! -w /dev/shm ]] || above=/dev/shm
work=$(mktemp -d -- "$above/tiffin-fuzz.XXXXXX")
trap 'rm -rf -- "$work"' EXIT
trap 'exit 130' INT TERM

code=0
for target in "${targets[@]}"; do
  corpus=build/fuzz/corpus/$target log=build/fuzz/$target.log
  failed=build/fuzz/failed/$target-$(date +%Y%m%dT%H%M%S)
  mkdir -p "$corpus" build/fuzz/failed
  echo "$target: $seconds s, log in $log"
  # What a server keeps from input to input is no leak; the seeds' tests look for those.
  command=("build/fuzz/tests/fuzz/${target}_fuzzer" -detect_leaks=0 -timeout=150 -rss_limit_mb=4096)
  if TMPDIR=$work "${command[@]}" -max_total_time="$seconds" -print_final_stats=1 \
    -exact_artifact_path="$failed" "$corpus" "tests/fuzz/seeds/$target" >"$log" 2>&1; then
    inputs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    echo "$target: $inputs inputs, $(grep -o 'cov: [0-9]* ft: [0-9]* corp: [0-9]*' "$log" | tail -n 1)"
    continue
  fi
  code=1
  grep -E 'does not hold|ERROR|SUMMARY|runtime error' "$log" | head -n 5 || true
  if [[ -f $failed ]]; then
    echo "$target: FAILED, repeat with: ${command[*]} $failed"
  else
    echo "$target: FAILED without an input, see $log"
  fi
done
exit "$code"
