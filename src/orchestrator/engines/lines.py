"""Who waits to be looked at in the background, and in which order."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum

from orchestrator.domain.model import TaskId

LATER_AT_ONCE, POLLS_AT_ONCE = 2, 4
"""Looks of a line at once. The others wait here and not at Plane, so that a wake that somebody waits for finds its
task idle, and the lists of a resync are not held up by many looks.
"""


class Rank(IntEnum):
    """How soon a task is looked at, the soonest first."""

    URGENT = 0
    """Somebody waits for it."""
    LATER = 1
    """In the background, when Plane's limit leaves room for a whole look."""
    POLL = 2
    """In the background, and only at what no list of changes tells of."""


@dataclass(slots=True)
class Line:
    """First come, first served; but those in `first`, which are known to have moved, before all others."""

    rank: Rank
    at_once: int
    first: dict[TaskId, None] = field(default_factory=dict)
    others: dict[TaskId, None] = field(default_factory=dict)
    looking: int = 0

    def add(self, tasks: Iterable[TaskId], *, is_first: bool = False) -> None:
        """Who is in line already keeps the place, or gets a better one."""
        for task in tasks:
            if is_first:
                self.others.pop(task, None)
                self.first[task] = None
            elif task not in self.first:
                self.others[task] = None

    def discard(self, task: TaskId) -> None:
        self.first.pop(task, None)
        self.others.pop(task, None)

    def next(self) -> TaskId | None:
        """Whose turn it is; None when nobody waits, or too many are looked at."""
        line = self.first or self.others
        if not line or self.looking >= self.at_once:
            return None
        task = next(iter(line))
        del line[task]
        return task
