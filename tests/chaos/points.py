"""Points at which an instance can fail: counted as they are reached, and struck at one hit of one of them.

Their names are made from the code that is called, so that a new call is a new point without anybody's doing.
"""

import asyncio
import json
import os
import re
import signal
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

T = TypeVar("T")
How = Literal["before", "after", "killed"]
HOWS: tuple[How, ...] = ("before", "after", "killed")
"""It fails before anything is done; it is done but reported as failed; or the process dies when it is done."""
HELD_LOOK_S = 0.01
_VARIES = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}|[0-9a-f]{40}|(?<=/)\d+|ENDURO-\d+")
_BRANCH = re.compile(r"feature(%2F|/)[^/?]+")


@dataclass(slots=True)
class Points:
    """`name`, `hit` and `how` say where to strike, once; an empty name strikes nowhere. `trace` gets a line for
    every point that is reached, and the word `struck` when it was done. Who reaches `held` goes on when the file
    `until` is there; who reaches `broken` meets a fault that nobody foresaw.
    """

    trace: Path | None = None
    name: str = ""
    hit: int = 0
    how: How = "before"
    held: str = ""
    until: Path | None = None
    broken: str = ""
    _reached: Counter[str] = field(default_factory=Counter)

    def strikes(self, name: str) -> How | None:
        """How to fail at this point now; None: go on."""
        self._reached[name] += 1
        self._say(name)
        if name != self.name or self._reached[name] != self.hit:
            return None
        self._say("struck")
        return self.how

    def now(self, name: str, call: Callable[[], T], fault: Exception) -> T:
        """The call, in the way that this point's hit wants it."""
        how = self.strikes(name)
        if how == "before":
            raise fault
        done = call()
        self._end(how, fault)
        return done

    async def soon(self, name: str, call: Callable[[], Awaitable[T]], fault: Exception) -> T:
        """As `now`, for what is awaited."""
        how = self.strikes(name)
        while name == self.held and self.until is not None and not self.until.exists():  # noqa: ASYNC110 - a file
            await asyncio.sleep(HELD_LOOK_S)
        if how == "before":
            raise fault
        if name == self.broken:
            raise RuntimeError("A fault of our own was ordered.")
        done = await call()
        self._end(how, fault)
        return done

    def _end(self, how: How | None, fault: Exception) -> None:
        if how == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if how == "after":
            raise fault

    def _say(self, name: str) -> None:
        if self.trace is not None:
            handle = os.open(self.trace, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            os.write(handle, f"{name}\n".encode())
            os.close(handle)


def name_of(work: Any) -> str:
    """A function's place in the code."""
    inner = getattr(work, "func", work)
    return f"{inner.__module__.removeprefix('orchestrator.')}.{inner.__qualname__}".replace(".<locals>", "")


def place_of(path: str) -> str:
    """A request's path without what differs from run to run."""
    return _BRANCH.sub("BRANCH", _VARIES.sub("N", path))


@dataclass(frozen=True, slots=True)
class Order:
    """What the test wants of the instance that `chaos.composed` starts; travels as JSON in one variable."""

    fault: str = ""
    trace: str = ""
    point: str = ""
    hit: int = 0
    how: How = "before"
    clock: str = ""
    is_quick: bool = False
    held: str = ""
    until: str = ""
    broken: str = ""

    @classmethod
    def read(cls, environ: Any) -> "Order":
        return cls(**json.loads(environ.get(VARIABLE, "{}")))

    def environ(self) -> dict[str, str]:
        return {VARIABLE: json.dumps({name: getattr(self, name) for name in self.__slots__})}

    def points(self) -> Points:
        trace, until = (Path(one) if one else None for one in (self.trace, self.until))
        return Points(trace, self.point, self.hit, self.how, self.held, until, self.broken)


VARIABLE = "CHAOS_ORDER"
