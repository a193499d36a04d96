"""Work items and pushes of a simulated Plane and Gitea, as ready deliveries, and the service's own log."""

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks.load import request
from benchmarks.scale import FIXTURES
from orchestrator.sim.webhook import Outgoing, load_recorded
from orchestrator.sim.world import PROJECT, Process, Service, World, executed

POLL_S = 0.005
LONG_S = 86400
PATH = "/webhook/plane"
Line = Mapping[str, Any]


def cores() -> tuple[set[int], set[int]]:
    """For the simulated neighbours, and for the service with all that it starts. Elsewhere the neighbours are
    other machines: they do not take the processor from who waits for them. With one core, all share it.
    """
    ours = os.sched_getaffinity(0)
    theirs = {min(ours)}
    return theirs, ours - theirs or theirs


@contextmanager
def on(some: set[int]) -> Iterator[None]:
    """What this thread does and starts inside the block runs on these cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, some)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def world(folder: Path, *, is_sandboxed: bool = False) -> Iterator[World]:
    """Deliveries are made and signed by the simulated Plane, but sent by us: it loses them all."""
    with World(folder, FIXTURES, rate_per_minute=1_000_000, is_sandboxed=is_sandboxed) as made:
        secret = load_recorded(FIXTURES / "plane" / "issue__created__rest").secret
        made.plane.add_webhook("http://127.0.0.1:9/never", secret)
        made.plane.lose_deliveries = True
        yield made


def new_work_item(made: World, number: int) -> tuple[str, Outgoing]:
    """Its id, and the delivery that tells of it."""
    row = made.plane.create_work_item(PROJECT, {"name": f"Measure {number}"}, "alice")
    return str(row["id"]), made.plane.deliveries[-1]


def as_request(delivery: Outgoing) -> bytes:
    return request(PATH, delivery.headers, delivery.body)


def service(made: World, claude: Path, some: set[int] | None = None, **more: str) -> Service:
    """No resync disturbs the figures, a run is tried once only, and the simulated Plane takes any rate. `some` are
    the cores that it runs on.
    """
    calm = {"ORCH_RESYNC_INTERVAL_S": str(LONG_S), "ORCH_MAX_ATTEMPTS": "1", "ORCH_PLANE_CALLS_PER_MINUTE": "6000"}

    def start(arguments: Sequence[str], environ: Mapping[str, str], root: Path, log: Path) -> Process:
        with on(some or os.sched_getaffinity(0)):
            return executed(arguments, environ, root, log)

    return Service(made.root, made.settings(claude) | calm | more, starter=start)


@dataclass(slots=True)
class ServiceLog:
    """Reads what the service logs, line by line, from where it was left."""

    path: Path
    heard: list[Line] = field(default_factory=list)
    """What was said on the way to the line that `until` returned last."""
    _position: int = 0
    _lines: list[Line] = field(default_factory=list)

    def until(self, event: str, limit_s: float, is_wanted: Callable[[Line], bool] = lambda _line: True) -> Line:
        """The next such line of that event. Raises TimeoutError with what was seen instead."""
        seen: list[Line] = []
        until = time.monotonic() + limit_s
        while time.monotonic() < until:
            for line in self._more():
                seen.append(line)
                if line.get("event") == event and is_wanted(line):
                    self._lines = self._lines[self._lines.index(line) + 1 :]
                    self.heard = seen
                    return line
            self._lines = []
            time.sleep(POLL_S)
        raise TimeoutError(f"The service did not say {event!r} in {limit_s:.0f} s. It said: {seen[-10:]}")

    def skip(self) -> None:
        """Forgets what was said so far."""
        self._position, self._lines = self.path.stat().st_size, []

    def settle(self, quiet_s: float, limit_s: float) -> None:
        """Returns when nothing was said for so long. Raises TimeoutError when it never falls silent."""
        until = time.monotonic() + limit_s
        silent_from, size = time.monotonic(), -1
        while time.monotonic() < silent_from + quiet_s:
            if (now := self.path.stat().st_size) != size:
                silent_from, size = time.monotonic(), now
            if time.monotonic() > until:
                raise TimeoutError(f"The service is not silent for {quiet_s} s in {limit_s:.0f} s.")
            time.sleep(POLL_S)

    def _more(self) -> list[Line]:
        with self.path.open("rb") as file:
            file.seek(self._position)
            whole, newline, _rest = file.read().rpartition(b"\n")
        self._position += len(whole) + len(newline)
        self._lines += [json.loads(line) for line in whole.splitlines() if line.startswith(b"{")]
        return list(self._lines)


def said_at(line: Line) -> float:
    """Seconds of the wall clock, which all processes of this machine share."""
    return datetime.fromisoformat(line["timestamp"]).timestamp()
