"""The shim's limits seen from outside: for a shim that was stopped, or hangs, or was never told."""

import math
import os
from dataclasses import dataclass, field

from orchestrator.agents import rundir, supervise
from orchestrator.agents.launcher import ProcessLimits
from orchestrator.agents.rundir import RunPaths
from orchestrator.domain.run import RunLimits

_SLACK_S = 0.2
"""What a shim may be late because the machine is busy, before somebody else does its work."""


@dataclass(slots=True)
class Vigil:
    """All on the machine's monotonic clock, from moments that lie in files: a restart of ours changes nothing, and
    neither does a change of the date. Only silence is counted anew by each of our processes.

    What is only seen by looking, that the log grew or is full, happened between two looks: their middle is taken
    for the moment, so it is off by half of what lies between them at most.
    """

    paths: RunPaths
    limits: RunLimits
    process: ProcessLimits
    heard: float
    """The first look, then when the log grew last."""
    position: int = 0
    full_since: float = math.inf
    due: float = math.inf
    """When, as seen at the last look, the run should be over."""
    began: float | None = None
    """Once known it stays so; a stop may be ordered at any time."""
    looked: float = field(init=False)
    _stop: str = field(init=False)
    """Made once: a path takes longer to be put together than to be asked for."""

    def __post_init__(self) -> None:
        self.looked, self._stop = self.heard, str(self.paths.stop)

    def overdue(self, position: int, now: float) -> str | None:
        """Why the run should be over by now, though its shim did not end it. `position`: how long the log is."""
        between, self.looked = (self.looked + now) / 2, now
        if position != self.position:
            self.position, self.heard = position, between
        if position > self.process.log_max_bytes:
            self.full_since = min(self.full_since, between)
        since, why = min(self._reached())
        self.due = since + self.grace_s
        return why if now >= self.due else None

    def _reached(self) -> list[tuple[float, str]]:
        """When each limit is reached, or an order was given."""
        if self.began is None:
            self.began = rundir.started_at(self.paths)
        began, stopped = self.began, rundir.stopped_at(self.paths) if os.access(self._stop, os.F_OK) else None
        return [
            (math.inf if stopped is None else stopped, supervise.CANCELLED),
            (math.inf if began is None else began + self.limits.timeout_s, supervise.TIMED_OUT),
            (self.heard + self.limits.silence_s, supervise.STALLED),
            (self.full_since, supervise.LOG_FULL),
        ]

    @property
    def grace_s(self) -> float:
        """The whole ladder."""
        return self.process.interrupt_s + self.process.terminate_s + supervise.KILL_S + _SLACK_S
