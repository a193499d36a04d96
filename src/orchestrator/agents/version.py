"""Asks the CLI for its version: the cheapest proof that it is there and runs."""

import shutil
import subprocess  # noqa: TID251  # agents/ is the home of child processes

_MAX_CHARS = 60


def cli_version(binary: str, timeout_s: float = 20.0) -> str | None:
    """`2.1.330 (Claude Code)`; None when there is no such program or it does not answer."""
    found = shutil.which(binary)
    if found is None:
        return None
    try:
        done = subprocess.run(
            [found, "--version"],
            capture_output=True,
            timeout=timeout_s,
            check=True,
            stdin=subprocess.DEVNULL,
            env={"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/nonexistent", "DISABLE_AUTOUPDATER": "1"},
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode(errors="replace").strip()[:_MAX_CHARS] or None
