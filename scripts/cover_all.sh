#!/usr/bin/env bash
# Measures what the command that it is given reaches in our code, child processes included: while it runs, each Python
# of .venv begins by measuring itself. Fails when the command does, or when too little of what is not pure is reached.
# usage: scripts/cover_all.sh LEAST_PERCENT OMITTED_FILES COMMAND...
set -euo pipefail
cd "$(dirname "$0")/.."
least="$1" omitted="$2"
shift 2

# Services and agents get an environment of their own, so the switch cannot be a variable that they inherit.
switch="$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/measured.pth"
trap 'rm -f "$switch"' EXIT
.venv/bin/coverage erase
cat > "$switch" <<PTH
import os; os.environ.update(COVERAGE_PROCESS_START="$PWD/pyproject.toml", COVERAGE_FILE="$PWD/.coverage")
import coverage; coverage.process_startup()
PTH

status=0
"$@" || status=$?
rm -f "$switch"
.venv/bin/coverage combine -q
.venv/bin/coverage report --omit="$omitted" --fail-under="$least" || status=$?
exit "$status"
