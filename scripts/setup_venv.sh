#!/usr/bin/env bash
# Makes .venv from requirements-dev.txt (pinned, hashes checked), with uv when it is there and pip otherwise.
set -euo pipefail
cd "$(dirname "$0")/.."
python="${PYTHON:-python3}"
"$python" - <<'PY' || { echo "Python 3.11 or newer is needed; '$python' is older. Try: make setup PYTHON=python3.12" >&2; exit 1; }
import sys
raise SystemExit(sys.version_info < (3, 11))
PY
echo "Setting up .venv (once; a minute or two) ..."
rm -rf .venv
if command -v uv >/dev/null; then
    uv venv -q --python "$python" .venv
    VIRTUAL_ENV=.venv uv pip install -q --require-hashes -r requirements-dev.txt
    VIRTUAL_ENV=.venv uv pip install -q --no-deps --no-build-isolation -e .
else
    # Debian ships venv without pip in a package of its own (python3-venv).
    "$python" -m venv .venv || { echo "python3 -m venv failed: install your system's python3-venv package, or uv" >&2; exit 1; }
    .venv/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements-dev.txt
    .venv/bin/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
fi
touch .venv/.ready
