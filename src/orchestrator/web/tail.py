"""A run's log as it grows, for who reads along."""

import asyncio
from pathlib import Path

PIECE_BYTES = 1024 * 1024
AT_ONCE_BYTES = 128 * 1024
"""To ask a thread for less takes longer than to read it."""
LONGEST_S = 30.0
LOOK_S = 0.1
"""A person sees no difference; a look costs some microseconds."""


async def follow(path: Path, offset: int, wait_s: float) -> bytes:
    """At most 1 MiB from `offset`; waits for the next byte when there is none yet, and gives up after `wait_s`."""
    loop = asyncio.get_running_loop()
    until = loop.time() + min(wait_s, LONGEST_S)
    while (new := _size(path) - offset) <= 0:
        left = until - loop.time()
        if left <= 0:
            return b""
        await asyncio.sleep(min(left, LOOK_S))
    return _piece(path, offset) if new < AT_ONCE_BYTES else await asyncio.to_thread(_piece, path, offset)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _piece(path: Path, offset: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(PIECE_BYTES)
    except FileNotFoundError:
        return b""
