"""The shim's second half: limits, the stop ladder, the end of every descendant, the exit record.

The shim imports it once for each run, in a bare interpreter: `signal`, `json`, `pathlib`, `dataclasses` and
`typing` would cost ten times as much of the processor as all the rest that it does for a run.
"""

import _signal as signal  # type: ignore[import-not-found]  # without its enums
import os
import select
import time
from collections.abc import Iterator

from orchestrator.agents import confine, gauge, shim

# ruff: noqa: PTH104, PTH110, PTH116, PTH123, PTH208 - pathlib is too slow here, see above

EXITED = "exited"
TIMED_OUT = "timed_out"
STALLED = "stalled"
CANCELLED = "cancelled"
LOG_FULL = "log_full"
DISK_FULL = "disk_full"
MEMORY_FULL = "memory_full"

KILL_S = 1.0
"""A process in uninterruptible sleep cannot be killed; it must not hold the run for ever. With the ladder before
it, and a tick, this stays below the ten seconds that a stop may take."""
TICK_S = 0.5
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


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
            select.select([self.pidfd], [], [], min(left, TICK_S))
            self.reap()
        return self.status is not None

    def send(self, number: int) -> None:
        try:
            signal.pidfd_send_signal(self.pidfd, number)
        except ProcessLookupError:
            self.reap()


class _Meter:
    """What the agent used, on a clock that no change of the date moves and no restart of ours stops."""

    def __init__(self, spec: shim.Spec, began: float) -> None:
        self.spec = spec
        self.began = self.heard = began
        self.logged = 0
        self.most_free = 0
        self.gauge = gauge.Gauge(["."], spec.disk_max_bytes)

    def left_s(self, now: float) -> float:
        """Until the wall clock or the silence is used up."""
        return min(self.began + self.spec.timeout_s, self.heard + self.spec.silence_s) - now

    def exceeded(self, now: float) -> str | None:
        """The limit that is reached. A byte to either log ends a silence."""
        logged = _logged_bytes()
        if logged != self.logged:
            self.logged, self.heard = logged, now
        if now >= self.began + self.spec.timeout_s:
            return TIMED_OUT
        if logged > self.spec.log_max_bytes:
            return LOG_FULL
        if now >= self.heard + self.spec.silence_s:
            return STALLED
        if self.gauge.is_over():
            return DISK_FULL
        return MEMORY_FULL if self._is_too_heavy() else None

    def late_s(self, why: str) -> float:
        """How long ago the limit may have been reached: the folder alone is not looked at at each tick."""
        return self.gauge.late_s() if why == DISK_FULL else 0.0

    def _is_too_heavy(self) -> bool:
        """All processes are looked through only when the machine has lost as much as would be worth it."""
        free, limit = _free_bytes(), self.spec.memory_max_bytes
        self.most_free = max(self.most_free, free)
        if self.most_free - free < limit // 2:
            return False
        below = _below(os.getpid(), {pid: _parent(pid) for pid in pids()})
        return sum(map(_private_bytes, below)) > limit


def watch(pid: int, control: int, spec: shim.Spec) -> None:
    """Returns when the agent and all that it started are gone and the exit record is on disk."""
    began = time.monotonic()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda _number, _frame: _order_stop(control))
    agent = _Agent(pid)
    meter = _Meter(spec, began)
    why = _until_over(agent, control, meter)
    if why != EXITED:
        _climb(agent, meter, why)
    left = _end_all(agent, spec)
    _cut_logs(spec)
    _write_exit(agent.status, why, time.monotonic() - began, left)


def terminate_s(whole_s: float, late_s: float) -> float:
    """What was lost before a limit was seen is taken from the second step; the first one saves the result."""
    return max(0.0, whole_s - late_s)


def _end_all(agent: _Agent, spec: shim.Spec) -> int:
    """How many are left alive all the same."""
    if spec.uid is not None:
        confine.end_all_of(spec.uid)
    left = _kill_descendants(agent)
    if spec.uid is not None:
        confine.end_all_of(spec.uid)  # who was just being born
    return left


def see_off(pid: int, control: int, spec: shim.Spec, timeout_s: float) -> tuple[str, int | None]:
    """As `watch`, for an errand: no ladder and no record. Why it ended, and its exit code."""
    agent = _Agent(pid)
    why, until = TIMED_OUT, time.monotonic() + timeout_s
    while (left_s := until - time.monotonic()) > 0:
        ready, _, _ = select.select([agent.pidfd, control], [], [], left_s)
        agent.reap()
        if agent.status is not None or control in ready:
            why = CANCELLED if agent.status is None else EXITED
            break
    _end_all(agent, spec)
    return why, None if agent.status is None else os.waitstatus_to_exitcode(agent.status)


def _order_stop(control: int) -> None:
    """A signal to the shim means the same as an order on the control pipe; a full pipe holds one already."""
    try:
        os.write(control, b"stop\n")
    except BlockingIOError:
        return


def _until_over(agent: _Agent, control: int, meter: _Meter) -> str:
    while True:
        left_s = meter.left_s(time.monotonic())
        ready, _, _ = select.select([agent.pidfd, control], [], [], max(0.0, min(left_s, TICK_S)))
        agent.reap()
        if agent.status is not None:
            return EXITED
        if control in ready:
            return CANCELLED
        if reached := meter.exceeded(time.monotonic()):
            return reached


def _logs() -> list[str]:
    return [name for name in (shim.STDOUT, shim.STDERR) if os.path.exists(name)]


def _logged_bytes() -> int:
    return sum(os.stat(name).st_size for name in _logs())


def _cut_logs(spec: shim.Spec) -> None:
    """What was written faster than we looked takes no more room than the limit."""
    for name in _logs():
        if os.stat(name).st_size > spec.log_max_bytes:
            os.truncate(name, spec.log_max_bytes)


def _climb(agent: _Agent, meter: _Meter, why: str) -> None:
    """Interrupt (the CLI then still writes its result record), terminate; the kill comes after it anyway."""
    spec = meter.spec
    last_s = terminate_s(spec.terminate_s, meter.late_s(why))
    for number, pause_s in ((signal.SIGINT, spec.interrupt_s), (signal.SIGTERM, last_s)):
        if not (spec.is_wrapped and _send_inside(agent.pid, number)):
            agent.send(number)
        if agent.ended_within(pause_s):
            return


def _send_inside(wrapper: int, number: int) -> bool:
    """To the agent itself, the second process of its namespace: what wraps it would end all at once."""
    below = _below(wrapper, {pid: _parent(pid) for pid in pids()})
    inside = next((pid for pid in below if _number_inside(pid) == _AGENT_INSIDE), None)
    if inside is None:
        return False
    try:
        os.kill(inside, number)
    except ProcessLookupError:
        return False
    return True


_AGENT_INSIDE = 2
"""The first is bubblewrap's own, which reaps."""


def _number_inside(pid: int) -> int:
    try:
        lines = _read(f"/proc/{pid}/status").splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[-1]) for line in lines if line.startswith(b"NSpid:")), 0)


def _kill_descendants(agent: _Agent) -> int:
    """Kills until no child is left. As a subreaper we inherit the orphans, daemons with own sessions too."""
    until, root, turn = time.monotonic() + KILL_S, os.getpid(), 0
    while agent.reap():
        left = _kill_children(root) if turn % _SWEEP_EVERY else sweep(root)
        if time.monotonic() > until:
            return left
        turn += 1
    return 0


_SWEEP_EVERY = 50
"""Who forks and dies, forks and dies, is our child each time: to look at our children alone is a hundred times as
quick as a sweep, and puts a bomb out where sweeps would run after it. A sweep reaches who is deeper."""


def _kill_children(root: int) -> int:
    """Kills the children of `root`, a process of one thread, and says how many were seen (proc(5), `children`)."""
    try:
        seen = _read(f"/proc/{root}/task/{root}/children").split()
    except FileNotFoundError:  # a kernel built without CONFIG_PROC_CHILDREN
        return sweep(root)
    for pid in seen:
        _kill(int(pid))
    return len(seen)


def sweep(root: int) -> int:
    """Kills what is below `root`, and says how many were seen. Our own children at once and the newest first: who
    forks and dies, forks and dies, is gone before a list of all is made, and his child is ours then.
    """
    parents: dict[int, int] = {}
    for pid in sorted(pids(), reverse=True):
        parents[pid] = parent = _parent(pid)
        if parent == root:
            _kill(pid)
    descendants = list(_below(root, parents))
    for pid in descendants:
        _kill(pid)
    return len(descendants)


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _below(root: int, parents: dict[int, int]) -> Iterator[int]:
    children: dict[int, list[int]] = {}
    for pid, parent in parents.items():
        children.setdefault(parent, []).append(pid)
    waiting = [root]
    while waiting:
        found = children.get(waiting.pop(), [])
        yield from found
        waiting.extend(found)


def _parent(pid: int) -> int:
    """0 when the process is gone, or dead and not collected. Its name may hold spaces and brackets, so the last
    bracket counts.
    """
    try:
        stat = _read(f"/proc/{pid}/stat")
    except (FileNotFoundError, ProcessLookupError):
        return 0
    state, parent = stat.rpartition(b")")[2].split()[:2]
    return 0 if state == b"Z" else int(parent)


def _private_bytes(pid: int) -> int:
    """Memory that the process shares with no file and with nobody."""
    try:
        _, resident, shared = _read(f"/proc/{pid}/statm").split()[:3]
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return (int(resident) - int(shared)) * _PAGE_BYTES


def _free_bytes() -> int:
    with open("/proc/meminfo", "rb") as file:
        return next((int(line.split()[1]) * 1024 for line in file if line.startswith(b"MemAvailable:")), 0)


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _write_exit(status: int | None, why: str, duration_s: float, left: int) -> None:
    """Whole or not there: a reader never sees half of it, not even after a power cut."""
    # waitstatus_to_exitcode tells a signal as a negative number.
    code = "null" if status is None else os.waitstatus_to_exitcode(status)
    record = f'{{"why": "{why}", "exit_code": {code}, "duration_s": {duration_s:.3f}, "left_alive": {left}}}'
    with open(shim.EXIT + ".tmp", "x") as file:
        file.write(record)
        file.flush()
        os.fsync(file.fileno())
    os.rename(shim.EXIT + ".tmp", shim.EXIT)
    directory = os.open(".", os.O_RDONLY)
    os.fsync(directory)
    os.close(directory)
