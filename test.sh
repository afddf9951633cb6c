#!/usr/bin/env bash
# Style, types and tests. Two tiers:
#     ./test.sh                 the quick one, a few minutes: everything but tests marked `long`
#     ./test.sh --all           everything, as CI runs it
#     ./test.sh --lint          style and types alone
#     ./test.sh --no-lint       tests alone; may be combined with --all
# Further arguments go to pytest, such as: ./test.sh --no-lint tests/cam -m "not slow"
set -euo pipefail
cd "$(dirname "$0")"

lint=1 tests=1 tier=(-m "not long")
while [[ ${1:-} == --all || ${1:-} == --lint || ${1:-} == --no-lint ]]; do
    case $1 in
        --all) tier=() ;;
        --lint) tests= ;;
        --no-lint) lint= ;;
    esac
    shift
done

source src/environment.sh requirements-test.txt

types=
if [[ -n $lint ]]; then
    "$PYTHON" -m ruff check .
    "$PYTHON" -m ruff format --check .
    # What mypy reports depends on the libraries' own annotations; ours are written against those of numpy 2.3 and 2.4.
    if "$PYTHON" -c 'import numpy, sys; sys.exit(not (2, 3) <= tuple(map(int, numpy.__version__.split(".")[:2])) < (2, 5))'; then
        "$PYTHON" -m mypy &
        types=$!
    else
        echo "types: not checked, numpy 2.3 or 2.4 is needed for that"
    fi
fi

failed=0
if [[ -n $tests ]]; then
    # Three files of tests at a time, each on one core: many of them wait for scripts and disks.
    OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} "$PYTHON" -m pytest -n "${TEST_WORKERS:-3}" --dist loadfile \
        --no-loadscope-reorder ${tier[@]+"${tier[@]}"} "$@" || failed=$?
fi
# The types are checked beside the tests, and are waited for whatever those end with.
if [[ -n $types ]]; then
    wait "$types" || failed=1
fi
exit "$failed"
