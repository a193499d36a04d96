"""Makes the scripted `claude` a program: an executable for ORCH_CLAUDE_BIN."""

import shlex
import sys
from pathlib import Path

from orchestrator.sim.claude import KNOWN
from orchestrator.sim.script import Scenario

_SOURCE = str(Path(__file__).parents[2])
_START = (
    f"import gc, sys; gc.disable(); sys.path.insert(0, {_SOURCE!r});"
    " from orchestrator.sim.claude import main; raise SystemExit(main())"
)
"""It lives for a moment, so there is no garbage worth looking for; `-m` would import as much again to find it. The
code is ours, not what the interpreter has installed: a sandbox may show it the one and not the other."""


def write_wrapper(path: Path, scenario: str = "work", ledger: Path | None = None) -> Path:
    """Isolated (-I), so that nothing in a hostile cwd is imported; the standard library is all it needs (-S)."""
    Scenario.parse(scenario, KNOWN)
    command = [sys.executable, "-I", "-S", "-c", _START, "--scenario", scenario]
    command += ["--ledger", str(ledger.absolute())] if ledger else []
    path.write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n', encoding="utf-8")
    path.chmod(0o755)
    return path
