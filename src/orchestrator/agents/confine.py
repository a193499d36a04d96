"""Takes rights from the process that calls it, just before that becomes an agent. The policy says which.

Used by the shim's child, and inside bubblewrap, which itself still needs what the kernel must refuse an agent
(mounting, for one). The shim's rule holds here too: only what is built in or tiny is imported.
Anything that cannot be taken is an error: nobody runs with more than planned.
"""

import _signal  # type: ignore[import-not-found]  # `signal` without its enums
import os
import resource
import time
from _ctypes import Array, _SimpleCData, addressof, call_function, dlopen, dlsym

POLICY_FD = 5
"""Where the program inside bubblewrap finds its policy."""

OPEN = b"none\0\0" + b"0\0" * 8 + b"0\0" * 3
"""The policy that takes nothing."""

_SYS_LANDLOCK_CREATE, _SYS_LANDLOCK_ADD, _SYS_LANDLOCK_RESTRICT = 444, 445, 446
_RULE_PATH, _RULE_PORT = 1, 2
_PR_SET_PDEATHSIG, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP = 1, 24, 38, 22
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 47, 4
_SECCOMP_FILTER = 2
_SIGKILL = 9
_CAP_HEADER = (0x20080522).to_bytes(4, "little") + bytes(4)
_CAPABILITIES = 64
_FILE_RIGHTS = 1 | 2 | 4 | 1 << 14 | 1 << 15
"""Of all rights on files those that a rule for one file may hold."""
_CONNECT = 2
_CANNOT_EXEC = 127
_KILL_ROUNDS = 20
"""Those who fork while we kill are met by the next."""

_process = dlopen(None, 0)  # type: ignore[arg-type]  # None: what is loaded already, libc among it


class _Byte(_SimpleCData):  # type: ignore[type-arg]  # generic for type checkers alone
    """`array` gives bytes an address as well, but loads `collections` first, for as long as all of this file."""

    _type_ = "c"


class Policy:
    """What `sandbox.policy_bytes` wrote: NUL-separated fields in this order."""

    def __init__(self, raw: bytes) -> None:
        fields = raw.split(b"\0")
        self.level = fields[0].decode()
        self.uid = int(fields[1]) if fields[1] else None
        self.memory_max_bytes, self.processes_max = int(fields[2]), int(fields[3])
        self.landlock_bytes = int(fields[4])
        self.files, self.net, self.scopes = int(fields[5]), int(fields[6]), int(fields[7])
        self.filter = bytes.fromhex(fields[8].decode()) if fields[8] != b"0" else b""
        self.forward = fields[9] if fields[9] != b"0" else b""
        self.opened = 0
        """The port of the run's own forwarder, once the shim has opened it; among `ports` then."""
        rest = fields[10:]
        self.ports, rest = [int(port) for port in rest[1 : 1 + int(rest[0])]], rest[1 + int(rest[0]) :]
        self.owned, rest = rest[1 : 1 + int(rest[0])], rest[1 + int(rest[0]) :]
        self.wrapper, rest = rest[1 : 1 + int(rest[0])], rest[1 + int(rest[0]) :]
        self.rules = [(int(rule.partition(b" ")[0]), rule.partition(b" ")[2]) for rule in rest if rule]


def call(name: str, *args: int | bytes | None) -> int:
    """A function of the C library that returns a number; below zero is an error."""
    answer: int = call_function(dlsym(_process, name), args)
    if answer < 0:
        raise OSError(f"{name}{args[:1]} was refused by the kernel")
    return answer


def apply(policy: Policy, lifeline: bool = True) -> None:  # noqa: FBT001, FBT002  # positional costs least
    """In this order: what needs rights first, then they go. `lifeline`: the parent's end is ours, too."""
    ruleset = _ruleset(policy) if policy.landlock_bytes else -1
    _bound(policy)
    if policy.uid is not None:
        os.setgroups([])
        os.setresgid(policy.uid, policy.uid, policy.uid)
        os.setresuid(policy.uid, policy.uid, policy.uid)
    if policy.level == "none":
        return
    _drop_capabilities()
    if lifeline:
        # The kernel forgets it when the uid changes.
        call("prctl", _PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0)
    call("prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if ruleset >= 0:
        call("syscall", _SYS_LANDLOCK_RESTRICT, ruleset, 0)
        os.close(ruleset)
    if policy.filter:
        _install(policy.filter)


def _bound(policy: Policy) -> None:
    for kind, most in (
        (resource.RLIMIT_DATA, policy.memory_max_bytes),
        (resource.RLIMIT_NPROC, policy.processes_max),
    ):
        if most:
            hard = resource.getrlimit(kind)[1]
            limit = most if hard == resource.RLIM_INFINITY else min(most, hard)
            resource.setrlimit(kind, (limit, limit))


def _drop_capabilities() -> None:
    """From the bounding set as well, since root would get them back with the next program."""
    for capability in range(_CAPABILITIES):
        # Refused for numbers that this kernel does not have, and where we hold nothing anyway.
        call_function(dlsym(_process, "prctl"), (_PR_CAPBSET_DROP, capability, 0, 0, 0))
    call_function(dlsym(_process, "prctl"), (_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0))
    call("capset", _CAP_HEADER, bytes(24))


def _ruleset(policy: Policy) -> int:
    attributes = b"".join(value.to_bytes(8, "little") for value in (policy.files, policy.net, policy.scopes))
    ruleset = call("syscall", _SYS_LANDLOCK_CREATE, attributes, policy.landlock_bytes, 0)
    for rights, path in policy.rules:
        _allow_below(ruleset, rights & policy.files, path)
    for port in policy.ports if policy.net else ():
        rule = _CONNECT.to_bytes(8, "little") + port.to_bytes(8, "little")
        call("syscall", _SYS_LANDLOCK_ADD, ruleset, _RULE_PORT, rule, 0)
    return ruleset


def _allow_below(ruleset: int, rights: int, path: bytes) -> None:
    """A path that is not there allows nothing."""
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except (FileNotFoundError, PermissionError, NotADirectoryError):
        return
    # 0o040000: a directory; `stat` is not imported.
    if os.fstat(place).st_mode & 0o170000 != 0o040000:
        rights &= _FILE_RIGHTS
    rule = rights.to_bytes(8, "little") + place.to_bytes(4, "little")
    call("syscall", _SYS_LANDLOCK_ADD, ruleset, _RULE_PATH, rule, 0)
    os.close(place)


def _install(program: bytes) -> None:
    held = _held(program)
    header = (len(program) // 8).to_bytes(8, "little") + addressof(held).to_bytes(8, "little")
    call("prctl", _PR_SET_SECCOMP, _SECCOMP_FILTER, header, 0, 0)


def _held(content: bytes) -> Array:  # type: ignore[type-arg]  # as above
    """A copy that has an address for as long as it is held."""

    class Held(Array):  # type: ignore[type-arg]  # as above
        _type_ = _Byte
        _length_ = len(content)

    return Held.from_buffer_copy(content)


def read_policy(fd: int) -> Policy:
    parts = []
    while piece := os.read(fd, 1 << 16):
        parts.append(piece)
    os.close(fd)
    return Policy(b"".join(parts))


def become(argv: list[str]) -> None:
    """Inside bubblewrap: takes the rights and becomes the agent. Never returns.

    First comes where it works, then the port that the shim opened for it (or 0), then its command.
    """
    try:
        policy = read_policy(POLICY_FD)
        policy.ports += [int(port) for port in argv[1:2] if port != "0"]
        apply(policy)
        os.chdir(argv[0])
        os.execve(argv[2], argv[2:], os.environ)  # noqa: S606  # a list; this is the launch itself
    except BaseException as fault:  # noqa: BLE001  # whatever it is, no agent starts
        os.write(2, f"The agent could not be started: {fault}\n".encode(errors="replace"))
    os._exit(_CANNOT_EXEC)


def end_all_of(uid: int) -> None:
    """Kills every process of that uid, but none of ours: in a child that has the uid itself."""
    helper = os.fork()
    if helper == 0:
        try:
            for number in range(1, _signal.NSIG):
                if number not in {9, 19, 32, 33}:
                    _signal.signal(number, _signal.SIG_IGN)
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            resource.setrlimit(resource.RLIMIT_NPROC, (2, 2))
            for _ in range(_KILL_ROUNDS):
                # It succeeds as well where there is nobody: the kernel counts those whom we may not kill.
                os.kill(-1, _SIGKILL)
                if _is_alone():
                    break
                time.sleep(0.001)
        except OSError:
            pass  # nobody is left
        finally:
            os._exit(0)
    os.waitpid(helper, 0)


def _is_alone() -> bool:
    """With two processes allowed to our uid: whether the second may be ours. One that is dead but was not waited
    for yet counts as well.
    """
    try:
        child = os.fork()
    except BlockingIOError:
        return False
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    return True
