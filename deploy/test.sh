#!/usr/bin/env bash
# Sets up, builds and tests tiffin. The last lines are ctest's summary.
set -euo pipefail

usage() {
  cat <<USAGE
usage: deploy/test.sh [dev|tsan|release]

dev (the default)  Debug with AddressSanitizer and UndefinedBehaviorSanitizer
tsan               ThreadSanitizer
release            optimised

TIFFIN_SEED, TIFFIN_CRASH_SEED  what random tests begin with (default: 1, always the same; deploy/soak.sh tries others)
TIFFIN_SKIP_SETUP=1  does not call deploy/setup.sh
TIFFIN_WERROR=ON     warnings in tiffin's own code are errors
TIFFIN_JOBS          compilers at a time (default: one a core)
USAGE
}

preset=dev
case ${1:-} in
  '') ;;
  dev | tsan | release) preset=$1 ;;
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
[[ ${TIFFIN_SKIP_SETUP:-0} == 1 ]] || deploy/setup.sh

cmake --preset "$preset" ${TIFFIN_WERROR:+"-DTIFFIN_WERROR=$TIFFIN_WERROR"}
cmake --build --preset "$preset" -j "${TIFFIN_JOBS:-$(nproc)}"
export TIFFIN_SEED=${TIFFIN_SEED:-1} TIFFIN_CRASH_SEED=${TIFFIN_CRASH_SEED:-1}
exec ctest --preset "$preset" --output-on-failure
