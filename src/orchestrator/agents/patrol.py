"""One look a second at all runs that are followed, in one go: so the code lies in the processor's caches, and no
run needs a timer and a task's turn of its own for it.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import Context, copy_context
from dataclasses import dataclass, field

from orchestrator.agents.follow import Ending, Log
from orchestrator.agents.vigil import Vigil
from orchestrator.domain.run import Usage

_TICK_S = 1.0
LATEST_LOOK_S = 1.5 * _TICK_S
"""Between two looks lies so much at most."""
_NOTE_S = 5.0
"""How often it is told that an agent is still saying something."""


def to_next_look(now: float) -> float:
    """Seconds from `now` (monotonic) to the full second that is half to one and a half of them away."""
    return LATEST_LOOK_S - (now + 0.5 * _TICK_S) % _TICK_S


@dataclass(slots=True)
class Watch:
    """A run that goes on, as one look after the other finds it."""

    log: Log
    vigil: Vigil
    on_progress: Callable[[Usage], None]
    noted: float
    """When progress was told last, on the monotonic clock."""
    _position: int = 0
    _usage: Usage = field(default_factory=Usage)

    def look(self, now: float) -> bool:
        """False: there is more to do than a look can; much is to be read, or the run's time is nearly over."""
        if not self.log.read_on():
            return False
        return self.overdue(now) is None and self.vigil.due > now + LATEST_LOOK_S

    def overdue(self, now: float) -> str | None:
        """Why the run should be over by now, when all of the log was read. Tells what was used by now, if it is
        more.
        """
        position, usage = self.log.position, self.log.reading.usage
        if usage != self._usage or (position != self._position and now > self.noted + _NOTE_S):
            self._position, self._usage, self.noted = position, usage, now
            self.on_progress(usage)
        return self.vigil.overdue(position, now)


class Patrol:
    """Of one event loop at a time."""

    def __init__(self) -> None:
        self._followed: dict[Ending, tuple[Watch, Context]] = {}
        self._timer: asyncio.TimerHandle | None = None

    @contextmanager
    def of(self, ending: Ending, watch: Watch) -> Iterator[None]:
        """Looks while somebody waits for `ending`, and wakes who does when a look is not enough, or failed."""
        self._followed[ending] = watch, copy_context()  # what is logged of a run names that run
        if self._timer is None:
            self._plan()
        try:
            yield
        finally:
            del self._followed[ending]
            if self._timer is not None and not self._followed:
                self._timer.cancel()
                self._timer = None

    def _plan(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(to_next_look(time.monotonic()), self._go)

    def _go(self) -> None:
        self._plan()
        now = time.monotonic()
        for ending, (watch, context) in tuple(self._followed.items()):
            context.run(_look, ending, watch, now)


def _look(ending: Ending, watch: Watch, now: float) -> None:
    """One that fails is told to who waits for that run, and is none of the others'."""
    try:
        if not watch.look(now):
            ending.wake()
    except Exception as fault:  # noqa: BLE001 - whatever it is
        ending.fail(fault)
