#!/usr/bin/env bash
# Kills, starves and damages a server, and compares it with models, for as long as is told, with another seed each round. Stops at the
# first failure, and says the seed that repeats it.
set -euo pipefail

usage() {
  cat <<USAGE
usage: deploy/soak.sh [MINUTES]

MINUTES  how long to go on (default: 60); the round that is running is finished

TIFFIN_SOAK_SEED     seed of the first round (default: random); round n has this seed + n
TIFFIN_SOAK_PRESET   release (the default) or dev, with AddressSanitizer
TIFFIN_SKIP_SETUP=1  does not call deploy/setup.sh
TIFFIN_JOBS          compilers at a time (default: one a core)
USAGE
}

minutes=60
case ${1:-} in
  '') ;;
  -h | --help)
    usage
    exit 0
    ;;
  *[!0-9]*)
    usage >&2
    exit 2
    ;;
  *) minutes=$1 ;;
esac

cd "$(dirname "${BASH_SOURCE[0]}")/.."
[[ ${TIFFIN_SKIP_SETUP:-0} == 1 ]] || deploy/setup.sh
preset=${TIFFIN_SOAK_PRESET:-release}
cmake --preset "$preset"
cmake --build --preset "$preset" -j "${TIFFIN_JOBS:-$(nproc)}" \
  --target tiffin_server tiffin_cli tiffin_file_layer tiffin_python_stubs job_model_test

# A round is some minutes: all kinds of tests have their turn in the first.
export TIFFIN_CRASH_CYCLES=100 TIFFIN_CRASH_POINTS=150 TIFFIN_CRASH_FAULTS=100 TIFFIN_CRASH_DATABASES=100
export TIFFIN_CRASH_DAMAGES=100
export TIFFIN_KILL_ROUNDS=25 TIFFIN_BLOB_ROUNDS=250 TIFFIN_BLOB_BREAKS=25 TIFFIN_SLABS=2000
seed=${TIFFIN_SOAK_SEED:-$((RANDOM * 32768 + RANDOM))}
end=$((SECONDS + minutes * 60))
for ((round = 1; ; ++round)); do
  export TIFFIN_CRASH_SEED=$((seed + round - 1)) TIFFIN_SEED=$((seed + round - 1))
  echo "round $round: TIFFIN_CRASH_SEED=$TIFFIN_CRASH_SEED TIFFIN_SEED=$TIFFIN_SEED"
  ctest --preset "$preset" --label-regex 'crash|random' --verbose --stop-on-failure --timeout 3600 |
    { grep --line-buffered -E 'SEED|seed|rounds|kills|killed|faults|noticed|Passed|Failed|Broken|tests passed' || true; }
  ((SECONDS < end)) || break
done
