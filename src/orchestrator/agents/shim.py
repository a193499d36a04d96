"""Becomes the parent of one agent: wins the run's lock and start marker, then starts the agent.

Started by `launcher.start_shim` as a bare interpreter (-I -S -E) with the run's directory as its argument and
the model's credential as its standard input; or in advance, and then it waits to be told both (`wait`).
Everything before the fork delays every launch, so only what is built in or tiny is imported here:
`signal`, `json`, `pathlib` and `ctypes` would each cost as much as the rest of this file.
"""

import _signal  # type: ignore[import-not-found]  # `signal` without its enums
import fcntl
import os
import resource
import sys
import time

from orchestrator.agents import confine

# pathlib is too slow here, see above.
# ruff: noqa: PTH108, PTH123

LOCK = "lock"
TETHER = "tether"
STARTED = "started"
CONTROL = "control"
SPEC = "spec"
POLICY = "policy"
EXIT = "exit"
PROMPT = "prompt.jsonl"
STDOUT = "stdout.jsonl"
STDERR = "stderr.log"
ERRAND = "errand"
ERRAND_LOG = "errand.log"
ERRAND_POLICY = "errand.policy"
STOP = "stop"

LOCK_HELD = 75
STARTED_BEFORE = 76
CANNOT_EXEC = 127

WRITE_LOCK = b"\x01\x00" + bytes(30)
"""struct flock for F_OFD_SETLK: a write lock on the whole file, spelled out because `struct` costs time.
It belongs to the open file, so that an inherited descriptor keeps it; and, unlike flock, somebody who
only asks (F_OFD_GETLK) never gets into the way of somebody who takes it."""

CREDENTIAL_FD = 3
TETHER_FD = 4
ORDER_MAX_BYTES = 64
ORDER_MAX_FDS = 16
_LISTEN_BACKLOG = 64
_NOBODY = 65534
NICE = 10
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_SIGKILL = 9


class Spec:
    """What the launcher wrote: NUL-separated fields in this order, see `launcher.spec_bytes`."""

    def __init__(self, raw: bytes) -> None:
        fields = raw.split(b"\0")
        self.timeout_s, self.interrupt_s, self.terminate_s = (float(f) for f in fields[:3])
        self.log_max_bytes, self.file_max_bytes, self.open_files = (int(f) for f in fields[3:6])
        self.disk_max_bytes = int(fields[6])
        self.silence_s, self.memory_max_bytes = float(fields[7]), int(fields[8])
        self.cwd = fields[9]
        count = int(fields[10])
        self.argv = fields[11 : 11 + count]
        self.env = dict(entry.split(b"=", 1) for entry in fields[11 + count :] if entry)
        self.uid: int | None = None
        """The uid that is the run's alone, if it has one: then all of its processes are the run's."""
        self.is_wrapped = False
        """bubblewrap stands between us and the agent."""


def take(fd: int) -> bool:
    """Takes the lock or says at once that somebody has it."""
    try:
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, WRITE_LOCK)
    except (BlockingIOError, PermissionError):
        return False
    return True


def _prctl(option: int, value: int) -> None:
    confine.call("prctl", option, value, 0, 0, 0)


def _mark_started() -> bool:
    try:
        fd = os.open(STARTED, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return False
    os.write(fd, b"%f" % time.monotonic())
    os.close(fd)
    return True


def _yield_to_others() -> None:
    """An agent takes the machine last and is the first to go when memory runs out: we have to go on."""
    os.nice(NICE)
    with open("/proc/self/oom_score_adj", "wb") as file:
        file.write(b"1000")


def _limit(spec: Spec) -> None:
    _yield_to_others()
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


def _wire_errand(tether: int, out: str) -> None:
    """As above, but nothing to read, and 1 and 2 are fresh files: what an agent put in their place goes away."""
    os.dup2(tether, 10)
    os.dup2(10, TETHER_FD)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, CREDENTIAL_FD)
    for number, name in ((1, out), (2, ERRAND_LOG)):
        if os.path.lexists(name):
            os.unlink(name)
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), number)
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


def _become_agent(  # all that is needed after the fork, by position
    spec: Spec, policy: confine.Policy, tether: int, shim: int, errand_out: str = ""
) -> None:
    """Never returns. The kernel kills the agent when the shim dies; the tether tells of it until then.

    With `errand_out` it becomes an errand instead, which differs in its files alone.
    """
    try:
        os.setsid()
        _prctl(_PR_SET_PDEATHSIG, _SIGKILL)
        if os.getppid() != shim:
            os._exit(CANNOT_EXEC)
        _heed_all_signals()
        os.umask(0o077)
        if errand_out:
            _wire_errand(tether, errand_out)
        else:
            _wire(tether)
        inside = os.open(ERRAND_POLICY if errand_out else POLICY, os.O_RDONLY | os.O_NOFOLLOW)
        os.chdir(spec.cwd)
        _limit(spec)
        argv = spec.argv
        if policy.wrapper:
            # bubblewrap needs the rights that it is to take; the program inside it takes the rest.
            argv = [*policy.wrapper, spec.cwd, b"%d" % policy.opened, *argv]
            os.set_inheritable(inside, True)  # noqa: FBT003  # the C function's own form
        else:
            os.close(inside)
            # Last, so that nothing above needs what this takes.
            confine.apply(policy)
        if os.getppid() != shim:
            os._exit(CANNOT_EXEC)
        os.execve(argv[0], argv, spec.env)  # noqa: S606  # a list; this is the launch itself
    except BaseException as fault:  # noqa: BLE001  # a child must never fall back into the parent's code
        os.write(2, f"The agent could not be started: {fault}\n".encode(errors="replace"))
    finally:
        os._exit(CANNOT_EXEC)


def _hand_over(policy: confine.Policy) -> None:
    """Gives the run's folders to its uid. No link is followed, and a file of several names (uv and pnpm make such)
    is given away when all of them were met in the folders: an agent may have been there before, and a name that
    was not met could lie anywhere.
    """
    if policy.uid is None:
        return
    names: dict[tuple[int, int], int] = {}
    confine.end_all_of(policy.uid)
    os.chmod(".", 0o711)  # noqa: PTH101, S103  # no pathlib here, see above; to be passed through, not listed
    for top in policy.owned:
        os.chown(top, policy.uid, policy.uid, follow_symlinks=False)
        if os.path.isdir(top):  # noqa: PTH112  # as above
            for _, directories, files, place in os.fwalk(top):
                for name in directories:
                    os.chown(name, policy.uid, policy.uid, dir_fd=place, follow_symlinks=False)
                for name in files:
                    if _is_last_name(os.stat(name, dir_fd=place, follow_symlinks=False), names):
                        os.chown(name, policy.uid, policy.uid, dir_fd=place, follow_symlinks=False)


def _is_last_name(found: os.stat_result, names: dict[tuple[int, int], int]) -> bool:
    """Counts the names that were met of each file that has several."""
    if found.st_nlink == 1:
        return True
    identity = (found.st_dev, found.st_ino)
    names[identity] = names.get(identity, 0) + 1
    return names[identity] == found.st_nlink


def _open_way_out(spec: Spec, policy: confine.Policy) -> object:
    """The port of the run's forwarder: open before the agent starts, served a moment later."""
    if not policy.forward:
        return None
    from _socket import socket  # noqa: PLC0415  # most runs of tests need none

    listener = socket(2, 1, 0)
    listener.bind(("127.0.0.1", 0))
    listener.listen(_LISTEN_BACKLOG)
    port = listener.getsockname()[1]
    policy.ports.append(port)
    policy.opened = port
    spec.env |= {b"HTTPS_PROXY": b"http://127.0.0.1:%d" % port, b"NO_PROXY": b"127.0.0.1,localhost"}
    return listener


def _forward(listener: object, target: bytes) -> None:
    """In a child of its own, which dies with us; it keeps no lock and no credential."""
    shim = os.getpid()
    if os.fork():
        listener.close()  # type: ignore[attr-defined]  # _socket has no type of its own
        return
    try:
        _prctl(_PR_SET_PDEATHSIG, _SIGKILL)
        kept = listener.fileno()  # type: ignore[attr-defined]  # as above
        _forget_credential()
        os.closerange(3, kept)
        os.closerange(kept + 1, 1 << 20)
        import socket  # noqa: PLC0415  # the agent runs by now

        from orchestrator.agents import forwarder  # noqa: PLC0415  # as above

        if os.geteuid() == 0:
            os.setgroups([])
            os.setresgid(_NOBODY, _NOBODY, _NOBODY)
            os.setresuid(_NOBODY, _NOBODY, _NOBODY)
            _prctl(_PR_SET_PDEATHSIG, _SIGKILL)
        if os.getppid() == shim:
            forwarder.run(socket.socket(fileno=os.dup(kept)), target.decode())
    except BaseException as fault:  # noqa: BLE001  # a child must never fall back into the parent's code
        os.write(2, f"The way to the model's API ended: {fault}\n".encode(errors="replace"))
    finally:
        os._exit(1)


def _forget_credential() -> None:
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.close(null)


def wait() -> int:
    """A shim that was started before there was a run for it: it takes one order from its standard input, a socket,
    and is then what `main` is. The order is the name of the run's folder, below the one in its argument, and comes
    with the credential, its standard error and what it is to keep. When whoever started it is gone, so is it.
    """
    from _socket import CMSG_LEN, socket  # noqa: PLC0415  # main needs none of these

    from orchestrator.agents import supervise  # noqa: PLC0415, F401  # what is loaded now delays no launch

    orders = socket(fileno=0)
    order, given, _, _ = orders.recvmsg(ORDER_MAX_BYTES, CMSG_LEN(4 * ORDER_MAX_FDS))
    orders.detach()
    if not order.isdigit() or not given:
        return 0
    raw = given[0][2]
    credential, errors, *_ = (int.from_bytes(raw[at : at + 4], sys.byteorder) for at in range(0, len(raw), 4))
    for received, number in ((credential, 0), (errors, 2)):
        os.dup2(received, number)
        os.close(received)
    return main(os.path.join(sys.argv[1], order.decode()))  # noqa: PTH118  # no pathlib here, see above


def main(root: str) -> int:
    """The whole protocol. Order matters: control before lock, so that a held lock can be told to stop."""
    os.chdir(root)
    control = os.open(CONTROL, os.O_RDWR | os.O_NONBLOCK | os.O_NOFOLLOW)
    with open(SPEC, "rb") as file:
        spec = Spec(file.read())
    policy = confine.read_policy(os.open(POLICY, os.O_RDONLY | os.O_NOFOLLOW))
    spec.uid, spec.is_wrapped = policy.uid, bool(policy.wrapper)
    lock = os.open(LOCK, os.O_RDWR | os.O_NOFOLLOW)
    if not take(lock):
        return LOCK_HELD
    if not os.path.exists(STARTED):  # noqa: PTH110  # pathlib is too slow here
        _hand_over(policy)
    if not _mark_started():
        return STARTED_BEFORE
    # An agent may unlock what it inherits, so it gets a lock of its own, never the shim's.
    tether = os.open(TETHER, os.O_RDWR | os.O_NOFOLLOW)
    if not take(tether):
        return LOCK_HELD
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    listener = _open_way_out(spec, policy)
    shim = os.getpid()
    agent = os.fork()
    if agent == 0:
        _become_agent(spec, policy, tether, shim)
    _forget_credential()
    if listener is not None:
        _forward(listener, policy.forward)
    os.close(tether)
    from orchestrator.agents import supervise  # noqa: PLC0415  # slow to import; the agent runs by now

    supervise.watch(agent, control, spec)
    return 0


def errand() -> int:
    """One more program where the agent ran, after its end: the run's own spec with another command in it, so that
    every level of the sandbox and every limit is the agent's. See `agents.errand`, which reads what is printed.
    """
    os.chdir(sys.argv[1])
    control = os.open(CONTROL, os.O_RDWR | os.O_NONBLOCK | os.O_NOFOLLOW)
    with open(SPEC, "rb") as file:
        spec = Spec(file.read())
    with open(ERRAND, "rb") as file:
        limits, words = _read_errand(spec, file.read())
    policy = confine.read_policy(os.open(ERRAND_POLICY, os.O_RDONLY | os.O_NOFOLLOW))
    spec.uid, spec.is_wrapped = policy.uid, bool(policy.wrapper)
    lock, tether = os.open(LOCK, os.O_RDWR | os.O_NOFOLLOW), os.open(TETHER, os.O_RDWR | os.O_NOFOLLOW)
    if not take(lock) or not take(tether):
        return LOCK_HELD
    _hand_over(policy)
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    shim = os.getpid()
    child = os.fork()
    if child == 0:
        _become_agent(spec, policy, tether, shim, words)
    os.close(tether)
    from orchestrator.agents import supervise  # noqa: PLC0415  # as above

    why, code = supervise.see_off(child, control, spec, limits)
    os.write(1, f"{why} {code}".encode())
    return 0


def _read_errand(spec: Spec, raw: bytes) -> tuple[float, str]:
    """What `agents.errand` wrote, into the spec; its time in seconds and the name of its output."""
    fields = raw.split(b"\0")
    count = int(fields[3])
    spec.file_max_bytes = int(fields[1])
    spec.argv = fields[4 : 4 + count]
    spec.env = dict(entry.split(b"=", 1) for entry in fields[4 + count :] if entry)
    return float(fields[0]), fields[2].decode()
