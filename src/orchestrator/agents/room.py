"""A disk without room: what could not be written for that reason is tried again, and nobody else is blamed."""

import errno
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from orchestrator.domain.errors import Transient

P = ParamSpec("P")
T = TypeVar("T")
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
SAID_BY_GIT = r"No space left on device|Disk quota exceeded"
"""In the C locale, in which we start it."""


def disk_full(said: str) -> Transient:
    return Transient(
        "disk_full",
        f"The disk has no room for a run's files: {said}",
        hint="Make room below ORCH_DATA_DIR; it goes on by itself then.",
    )


def needs_room(step: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """The step, whose writes may find the disk full: Transient then, for whoever may repeat it."""

    @wraps(step)
    async def told(*args: P.args, **more: P.kwargs) -> T:
        try:
            return await step(*args, **more)
        except OSError as error:
            if error.errno in _FULL:
                raise disk_full(str(error)) from error
            raise

    return told
