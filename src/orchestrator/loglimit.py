"""Faults of our neighbours come again and again: all together they get one line a minute."""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from orchestrator.domain.errors import OrchestratorError, Transient

log = structlog.get_logger()
EVERY_S = 60.0
LASTING_EVERY_S = 300.0
"""For what does not pass by itself; nothing tries it again sooner."""
MAX_KEYS = 1000


@dataclass(slots=True)
class LogLimit:
    """`now_s` is a time that never jumps."""

    _next: dict[str, float] = field(default_factory=dict)
    _unsaid: dict[str, Counter[str]] = field(default_factory=dict)

    def unsaid(self, key: str, about: str, now_s: float, every_s: float) -> Counter[str] | None:
        """None: say nothing now, it is counted. Else say it, and what was not said since the last time."""
        if now_s < self._next.get(key, now_s):
            self._unsaid.setdefault(key, Counter())[about] += 1
            return None
        if len(self._next) >= MAX_KEYS:
            self._next.clear()
            self._unsaid.clear()
        self._next[key] = now_s + every_s
        return self._unsaid.pop(key, Counter())


@dataclass(slots=True)
class Complaints:
    """One for the whole process. All that passes by itself shares one line a minute, however many tasks, runs and
    kinds of call meet it: while a neighbour is away every part of us meets it. What does not pass by itself has a
    line every five minutes for each code, so that it is not hidden by the other.
    """

    monotonic: Callable[[], float] = time.monotonic
    _limit: LogLimit = field(default_factory=LogLimit)

    def say(self, event: str, error: OrchestratorError, **fields: object) -> None:
        key, every_s = ("", EVERY_S) if isinstance(error, Transient) else (error.code, LASTING_EVERY_S)
        unsaid = self._limit.unsaid(key, error.code, self.monotonic(), every_s)
        if unsaid is None:
            return
        more = {"more_since_last": unsaid.total(), "among_them": sorted(unsaid)} if unsaid else {}
        log.warning(event, code=error.code, message=error.message, hint=error.hint, **fields, **more)
