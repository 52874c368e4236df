#!/usr/bin/env bash
# Checks that the wire format of tiffin.v1 is still understood by what was built before.
# --update records additions in proto/tiffin/v1/v1.lock.json; --help tells the rest.
set -euo pipefail

# The system's Python, which deploy/setup.sh gave its modules, even if another one comes first.
python=${TIFFIN_PYTHON:-/usr/bin/python3}
[[ -x $python ]] || python=python3
exec "$python" "$(dirname "${BASH_SOURCE[0]}")/check_proto.py" "$@"
