"""The shim's second half: limits, the stop ladder, the end of every descendant, the exit record.

Imported by the shim in an interpreter without site-packages: standard library only.
"""

import json
import os
import select
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from orchestrator.agents import shim

EXITED: Final = "exited"
TIMED_OUT: Final = "timed_out"
CANCELLED: Final = "cancelled"
LOG_FULL: Final = "log_full"

_TICK_S = 1.0
_KILL_S = 30.0
"""A process in uninterruptible sleep cannot be killed; it must not hold the run for ever."""


class _Agent:
    """The agent's process, and whatever it leaves behind: all of it is our child in the end."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.pidfd = os.pidfd_open(pid)
        self.status: int | None = None

    def reap(self) -> bool:
        """Collects what has ended; False when no child is left."""
        try:
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return True
                if pid == self.pid:
                    self.status = status
        except ChildProcessError:
            return False

    def ended_within(self, pause_s: float) -> bool:
        """Keeps reaping, so that orphans do not pile up as zombies."""
        until = time.monotonic() + pause_s
        while self.status is None and (left := until - time.monotonic()) > 0:
            select.select([self.pidfd], [], [], min(left, _TICK_S))
            self.reap()
        return self.status is not None

    def send(self, number: signal.Signals) -> None:
        try:
            signal.pidfd_send_signal(self.pidfd, number)
        except ProcessLookupError:
            self.reap()


def watch(pid: int, control: int, spec: shim.Spec) -> None:
    """Returns when the agent and all that it started are gone and the exit record is on disk."""
    began = time.monotonic()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda _number, _frame: _order_stop(control))
    agent = _Agent(pid)
    why = _until_over(agent, control, spec, began)
    if why != EXITED:
        _climb(agent, spec)
    left = _kill_descendants(agent)
    _write_exit(agent.status, why, time.monotonic() - began, left)


def _order_stop(control: int) -> None:
    """A signal to the shim means the same as an order on the control pipe; a full pipe holds one already."""
    try:
        os.write(control, b"stop\n")
    except BlockingIOError:
        return


def _until_over(agent: _Agent, control: int, spec: shim.Spec, began: float) -> str:
    while True:
        left_s = began + spec.timeout_s - time.monotonic()
        ready, _, _ = select.select([agent.pidfd, control], [], [], max(0.0, min(left_s, _TICK_S)))
        agent.reap()
        if agent.status is not None:
            return EXITED
        if control in ready:
            return CANCELLED
        if left_s <= 0:
            return TIMED_OUT
        if _logged_bytes() > spec.log_max_bytes:
            return LOG_FULL


def _logged_bytes() -> int:
    return sum(path.stat().st_size for path in (Path(shim.STDOUT), Path(shim.STDERR)) if path.exists())


def _climb(agent: _Agent, spec: shim.Spec) -> None:
    """Interrupt (the CLI then still writes its result record), terminate; the kill comes after it anyway."""
    for number, pause_s in ((signal.SIGINT, spec.interrupt_s), (signal.SIGTERM, spec.terminate_s)):
        agent.send(number)
        if agent.ended_within(pause_s):
            return


def _kill_descendants(agent: _Agent) -> int:
    """Kills until no child is left. As a subreaper we inherit the orphans, daemons with own sessions too."""
    until = time.monotonic() + _KILL_S
    while agent.reap():
        descendants = list(_descendants(os.getpid()))
        if time.monotonic() > until:
            return len(descendants)
        for pid in descendants:
            _kill(pid)
        time.sleep(0.002)
    return 0


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _descendants(root: int) -> Iterator[int]:
    children: dict[int, list[int]] = {}
    with os.scandir("/proc") as entries:
        names = [entry.name for entry in entries if entry.name.isdigit()]
    for name in names:
        if parent := _parent(name):
            children.setdefault(parent, []).append(int(name))
    waiting = [root]
    while waiting:
        found = children.get(waiting.pop(), [])
        yield from found
        waiting.extend(found)


def _parent(pid: str) -> int:
    """0 when the process is gone. Its name may hold spaces and brackets, so the last bracket counts."""
    try:
        stat = Path("/proc", pid, "stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(stat.rpartition(b")")[2].split()[1])


def _write_exit(status: int | None, why: str, duration_s: float, left: int) -> None:
    """Whole or not there: a reader never sees half of it, not even after a power cut."""
    # waitstatus_to_exitcode tells a signal as a negative number.
    code = None if status is None else os.waitstatus_to_exitcode(status)
    record = {
        "why": why,
        "exit_code": code,
        "duration_s": round(duration_s, 3),
        "left_alive": left,
    }
    with Path(shim.EXIT + ".tmp").open("x") as file:
        json.dump(record, file)
        file.flush()
        os.fsync(file.fileno())
    Path(shim.EXIT + ".tmp").replace(shim.EXIT)
    directory = os.open(".", os.O_RDONLY)
    os.fsync(directory)
    os.close(directory)
