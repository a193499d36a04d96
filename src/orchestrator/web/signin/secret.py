"""The key that signs sessions, for who gave none: made once, and kept beside the database for its owner alone."""

import os
import secrets
from pathlib import Path

from orchestrator.domain.errors import Permanent

NAME = "session-secret"
LEAST_CHARS = 32


def kept(folder: Path) -> str:
    """The key of this folder. Two that start at once end up with the same one."""
    path = folder / NAME
    try:
        if not path.exists():
            _make(path)
        found = path.read_text(encoding="ascii", errors="replace").strip()
    except OSError as error:
        raise Permanent(
            "session_secret_unreadable",
            f"The key of sessions cannot be made or read: {error}",
            hint="Let the service's user write into ORCH_DATA_DIR, or set ORCH_SESSION_SECRET.",
        ) from error
    if len(found) < LEAST_CHARS:
        raise Permanent(
            "session_secret_bad",
            f"{path} does not hold a key.",
            hint="Remove it: a new one is made, and everybody signs in again.",
        )
    return found


def _make(path: Path) -> None:
    """Written whole under another name first: nobody ever reads half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{NAME}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(secrets.token_hex(32) + "\n")
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(draft, path)  # fails when another has been quicker
    except FileExistsError:
        pass
    finally:
        draft.unlink()
