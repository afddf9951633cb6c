#!/usr/bin/env bash
# The whole test suite: style, types, tests. Arguments go to pytest, such as: ./test.sh -m "not slow"
set -euo pipefail
cd "$(dirname "$0")"

source src/environment.sh requirements-test.txt
"$PYTHON" -m ruff check .
# What mypy finds depends on the libraries' own annotations; ours are written against those of numpy 2.3 and 2.4.
if "$PYTHON" -c 'import numpy, sys; sys.exit(not (2, 3) <= tuple(map(int, numpy.__version__.split(".")[:2])) < (2, 5))'; then
    "$PYTHON" -m mypy &
    types=$!
else
    echo "types: not checked, numpy 2.3 or 2.4 is needed for that"
fi
# Three files of tests at a time, each on one core: many of them wait for scripts and disks.
OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} "$PYTHON" -m pytest -n "${TEST_WORKERS:-3}" --dist loadfile --no-loadscope-reorder "$@"
# The types are checked beside the tests.
[[ -z ${types:-} ]] || wait "$types"
