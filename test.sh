#!/usr/bin/env bash
# The whole test suite: style, types, tests. Arguments go to pytest, such as: ./test.sh -m "not slow"
set -euo pipefail
cd "$(dirname "$0")"

source src/environment.sh requirements-test.txt
"$PYTHON" -m ruff check .
"$PYTHON" -m mypy
"$PYTHON" -m pytest "$@"
