#!/usr/bin/env bash
# Runs the contract tests against real servers, those that are named in the environment or on make's command line:
#   PLANE_URL, PLANE_KEY (a member's API key), PLANE_WORKSPACE (slug), PLANE_PROJECT (uuid; items are made in it)
#   GITEA_URL, GITEA_REPO (owner/name; branches are made in it), GITEA_TOKEN (write role), GITEA_ADMIN_TOKEN (admin role)
# Keys on a command line can be read by other users of the machine: export them instead, then call `make live`.
set -euo pipefail
cd "$(dirname "$0")/.."
named=()
for system in PLANE GITEA; do
    url="${system}_URL"
    if [ -z "${!url:-}" ]; then
        echo "Skipped: $system, since ${system}_URL is not set."
        continue
    fi
    for name in $(compgen -v | grep "^${system}_"); do
        export "ORCH_TEST_$name=${!name}"
    done
    named+=("tests/contracts/test_$(tr '[:upper:]' '[:lower:]' <<<"$system")_contract.py")
done
if [ ${#named[@]} -eq 0 ]; then
    echo "Nothing was tested. Set PLANE_URL or GITEA_URL and what belongs to it; the top of this script lists the names:"
    echo "    scripts/live_contracts.sh"
    exit 0
fi
# The tests otherwise reach loopback only.
exec ${PYTEST:-.venv/bin/python -m pytest} -o addopts="--strict-markers --import-mode=importlib -ra" -k server "${named[@]}"
