"""Becomes the parent of one agent: wins the run's lock and start marker, then starts the agent.

Started by `launcher.start_shim` as a bare interpreter (-I -S -E) with the run's directory as its argument and
the model's credential as its standard input.
Everything before the fork delays every launch, so only what is built in or tiny is imported here:
`signal`, `json`, `pathlib` and `ctypes` would each cost as much as the rest of this file.
"""

import _signal  # type: ignore[import-not-found]  # `signal` without its enums
import fcntl
import os
import resource
import sys
import time
from _ctypes import call_function, dlopen, dlsym

# pathlib is too slow here, see above.
# ruff: noqa: PTH123

LOCK = "lock"
TETHER = "tether"
STARTED = "started"
CONTROL = "control"
SPEC = "spec"
EXIT = "exit"
PROMPT = "prompt.jsonl"
STDOUT = "stdout.jsonl"
STDERR = "stderr.log"

LOCK_HELD = 75
STARTED_BEFORE = 76
CANNOT_EXEC = 127

WRITE_LOCK = b"\x01\x00" + bytes(30)
"""struct flock for F_OFD_SETLK: a write lock on the whole file, spelled out because `struct` costs time.
It belongs to the open file, so that an inherited descriptor keeps it; and, unlike flock, somebody who
only asks (F_OFD_GETLK) never gets into the way of somebody who takes it."""

CREDENTIAL_FD = 3
TETHER_FD = 4
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_SIGKILL = 9


class Spec:
    """What the launcher wrote: NUL-separated fields in this order, see `launcher.spec_bytes`."""

    def __init__(self, raw: bytes) -> None:
        fields = raw.split(b"\0")
        self.timeout_s, self.interrupt_s, self.terminate_s = (float(f) for f in fields[:3])
        self.log_max_bytes, self.file_max_bytes, self.open_files = (int(f) for f in fields[3:6])
        self.cwd = fields[6]
        count = int(fields[7])
        self.argv = fields[8 : 8 + count]
        self.env = dict(entry.split(b"=", 1) for entry in fields[8 + count :] if entry)


def take(fd: int) -> bool:
    """Takes the lock or says at once that somebody has it."""
    try:
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, WRITE_LOCK)
    except (BlockingIOError, PermissionError):
        return False
    return True


def _prctl(option: int, value: int) -> None:
    process = dlopen(None, 0)  # type: ignore[arg-type]  # None: what is loaded already, libc among it
    if call_function(dlsym(process, "prctl"), (option, value, 0, 0, 0)) != 0:
        raise OSError(f"prctl({option}) failed")


def _mark_started() -> bool:
    try:
        fd = os.open(STARTED, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return False
    os.write(fd, b"%f" % time.monotonic())
    os.close(fd)
    return True


def _limit(spec: Spec) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (spec.file_max_bytes, spec.file_max_bytes))
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    files = spec.open_files if hard == resource.RLIM_INFINITY else min(spec.open_files, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))


def _wire(tether: int) -> None:
    """0 prompt, 1 and 2 the logs, 3 the credential, 4 the tether; nothing else reaches the agent."""
    os.dup2(tether, 10)
    os.dup2(0, CREDENTIAL_FD)
    os.dup2(10, TETHER_FD)
    os.dup2(os.open(PROMPT, os.O_RDONLY | os.O_NOFOLLOW), 0)
    append = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
    os.dup2(os.open(STDOUT, append, 0o600), 1)
    os.dup2(os.open(STDERR, append, 0o600), 2)
    os.closerange(TETHER_FD + 1, 1 << 20)


def _heed_all_signals() -> None:
    """An ignored signal is inherited: from Python (SIGPIPE), or from a shell that started us in the background
    (SIGINT, the first step of the stop ladder). 32 and 33 belong to the C library and cannot be set.
    """
    for number in range(1, _signal.NSIG):
        if _signal.getsignal(number) == _signal.SIG_IGN:
            try:
                _signal.signal(number, _signal.SIG_DFL)
            except (OSError, ValueError):
                continue


def _become_agent(spec: Spec, tether: int, shim: int) -> None:
    """Never returns. The kernel kills the agent when the shim dies; the tether tells of it until then."""
    try:
        os.setsid()
        _prctl(_PR_SET_PDEATHSIG, _SIGKILL)
        if os.getppid() != shim:
            os._exit(CANNOT_EXEC)
        _heed_all_signals()
        os.umask(0o077)
        _wire(tether)
        os.chdir(spec.cwd)
        _limit(spec)
        # A sandbox level is applied here: last, so that nothing above needs the rights that it takes.
        os.execve(spec.argv[0], spec.argv, spec.env)  # noqa: S606  # a list; this is the launch itself
    except BaseException as fault:  # noqa: BLE001  # a child must never fall back into the parent's code
        os.write(2, f"The agent could not be started: {fault}\n".encode(errors="replace"))
    finally:
        os._exit(CANNOT_EXEC)


def _forget_credential() -> None:
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.close(null)


def main() -> int:
    """The whole protocol. Order matters: control before lock, so that a held lock can be told to stop."""
    os.chdir(sys.argv[1])
    control = os.open(CONTROL, os.O_RDWR | os.O_NONBLOCK | os.O_NOFOLLOW)
    with open(SPEC, "rb") as file:
        spec = Spec(file.read())
    lock = os.open(LOCK, os.O_RDWR | os.O_NOFOLLOW)
    if not take(lock):
        return LOCK_HELD
    if not _mark_started():
        return STARTED_BEFORE
    # An agent may unlock what it inherits, so it gets a lock of its own, never the shim's.
    tether = os.open(TETHER, os.O_RDWR | os.O_NOFOLLOW)
    if not take(tether):
        return LOCK_HELD
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    shim = os.getpid()
    agent = os.fork()
    if agent == 0:
        _become_agent(spec, tether, shim)
    _forget_credential()
    os.close(tether)
    from orchestrator.agents import supervise  # noqa: PLC0415  # slow to import; the agent runs by now

    supervise.watch(agent, control, spec)
    return 0
