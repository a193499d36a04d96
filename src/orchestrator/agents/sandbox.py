"""What a sandbox level is, and the policy that puts one run into it. Pure; `probe` measures, `confine` applies."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from orchestrator.agents import seccomp


class Capability(StrEnum):
    """What a level is made of. Each is probed by trying it."""

    LANDLOCK = "landlock"
    """Landlock with seccomp and resource limits."""
    USER = "user"
    """A uid of its own for each run at work."""
    BWRAP = "bwrap"
    """bubblewrap around the whole CLI: own processes, own file tree."""


LANDLOCK_TCP_ABI = 4
"""Before it Landlock knows no TCP, and then it is not called `landlock`."""
LANDLOCK_SCOPES_ABI = 6
"""Before it signals and abstract sockets reach outside."""


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A level: what is on. `landlock_abi` 0: no Landlock and no filter."""

    landlock_abi: int = 0
    has_user: bool = False
    has_bwrap: bool = False

    def __str__(self) -> str:
        names = [str(one) for one in Capability if one in self.capabilities]
        if 0 < self.landlock_abi < LANDLOCK_TCP_ABI:
            names.insert(0, "landlock-without-tcp")
        return "+".join(names) or "none"

    @property
    def capabilities(self) -> frozenset[Capability]:
        on = {
            Capability.LANDLOCK: self.landlock_abi >= LANDLOCK_TCP_ABI,
            Capability.USER: self.has_user,
            Capability.BWRAP: self.has_bwrap,
        }
        return frozenset(one for one, is_on in on.items() if is_on)


NONE = Sandbox()

# Rights of Landlock, see linux/landlock.h; the bits are the kernel's.
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1, 2, 4, 8
_MAKE_CHAR, _MAKE_BLOCK = 1 << 6, 1 << 11
_REFER, _TRUNCATE, _IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
_ALL_FILES = (1 << 16) - 1
_BIND, _CONNECT = 1, 2
_ABSTRACT_SOCKETS, _SIGNALS = 1, 2

READ = _READ_FILE | _READ_DIR
RUN = READ | _EXECUTE
DEVICE = _READ_FILE | _WRITE_FILE | _TRUNCATE | _IOCTL_DEV
OWN = _ALL_FILES & ~(_MAKE_CHAR | _MAKE_BLOCK)
SHARED_MEMORY = OWN & ~_EXECUTE

PROGRAMS = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
DEVICES = ("null", "zero", "full", "random", "urandom", "tty", "ptmx", "pts")
SIZES = ("/sys/fs/cgroup", "/sys/devices/system/cpu")
"""Heaps are sized by them."""
CONFIGURATION = (
    *("ld.so.cache", "ld.so.conf", "ld.so.conf.d", "alternatives", "passwd", "group", "nsswitch.conf", "hosts"),
    *("localtime", "timezone", "os-release", "lsb-release", "debian_version", "gitconfig", "bash.bashrc"),
    *("profile", "inputrc", "terminfo", "mime.types", "services", "protocols", "ssl/certs", "ssl/openssl.cnf"),
    *("ca-certificates", "ca-certificates.conf", "pki", "python3", "python3.11", "python3.12", "python3.13"),
    *("pip.conf", "npmrc", "java", "java-17-openjdk", "java-21-openjdk", "locale.alias", "locale.conf"),
)
"""Of /etc where the agent is the orchestrator's own user: what tools want and nobody would hide."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one agent's processes may use. 0: no bound of ours."""

    memory_max_bytes: int = 4 * 1024 * 1024 * 1024
    processes_max: int = 512


@dataclass(frozen=True, slots=True)
class Places:
    """The paths of one run that the level opens, and what lies around them."""

    workspace: str
    home: str
    tmp: str
    readable: Sequence[str] = ()
    """Files of the run that the agent reads: the role prompt."""
    program: str = ""
    """The CLI itself."""
    is_program_hidden: bool = False
    """Nobody but root may read it, so its process's memory is closed to its children."""
    toolchains: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Reach:
    """Where it may connect to: ports of loopback, and the one address that the run's forwarder leads to."""

    ports: Sequence[int] = ()
    forward: str = ""


@dataclass(frozen=True, slots=True)
class Confinement:
    """All of one run's policy but the uid's number and bubblewrap's arguments."""

    sandbox: Sandbox
    places: Places
    reach: Reach = field(default_factory=Reach)
    bounds: Bounds = field(default_factory=Bounds)


def policy_bytes(confinement: Confinement, uid: int | None, wrapper: Sequence[str] = ()) -> bytes:
    """What `confine.Policy` reads."""
    sandbox, places = confinement.sandbox, confinement.places
    abi = sandbox.landlock_abi
    owned = [places.workspace, places.home, places.tmp, *places.readable] if uid is not None else []
    is_bounded = sandbox != NONE
    rules = [f"{rights} {path}" for rights, path in _rules(sandbox, places)] if abi else []
    fields = [
        str(sandbox),
        "" if uid is None else str(uid),
        str(confinement.bounds.memory_max_bytes if is_bounded else 0),
        str(confinement.bounds.processes_max if is_bounded else 0),
        str(_attribute_bytes(abi)),
        str(_handled_files(abi)),
        str(_BIND | _CONNECT if abi >= LANDLOCK_TCP_ABI else 0),
        str(_ABSTRACT_SOCKETS | _SIGNALS if abi >= LANDLOCK_SCOPES_ABI else 0),
        seccomp.program().hex() if abi else "0",
        confinement.reach.forward or "0",
        *_counted(str(port) for port in confinement.reach.ports),
        *_counted(owned),
        *_counted(wrapper),
        *rules,
    ]
    return b"\0".join(os.fsencode(entry) for entry in fields)


def _counted(entries: Iterable[str]) -> list[str]:
    listed = list(entries)
    return [str(len(listed)), *listed]


def _attribute_bytes(abi: int) -> int:
    """The kernel's structure grew; one that is too large for it is refused."""
    if abi >= LANDLOCK_SCOPES_ABI:
        return 24
    return 16 if abi >= LANDLOCK_TCP_ABI else 8 * (abi > 0)


def _handled_files(abi: int) -> int:
    later = _REFER * (abi < 2) | _TRUNCATE * (abi < 3) | _IOCTL_DEV * (abi < 5)
    return _ALL_FILES & ~later


def _rules(sandbox: Sandbox, places: Places) -> Iterator[tuple[int, str]]:
    for path in (*PROGRAMS, *places.toolchains):
        yield RUN, path
    if places.program:
        yield RUN, places.program
    for name in ("",) if sandbox.has_user or sandbox.has_bwrap else CONFIGURATION:
        yield READ, f"/etc/{name}"
    for path in (*SIZES, *places.readable):
        yield READ, path
    for name in DEVICES:
        yield DEVICE | READ, f"/dev/{name}"
    if shows_processes(sandbox, places):
        yield READ, "/proc"
    if sandbox.has_bwrap:
        # Of the run alone and bounded, see `bubblewrap`. The machine's own would hold more than any limit of a run
        # counts, and what one run leaves there the next one with its uid would read.
        yield SHARED_MEMORY, "/dev/shm"  # noqa: S108  # as above
        yield OWN, "/tmp"  # noqa: S108  # as above
    for path in (places.workspace, places.home, places.tmp):
        yield OWN, path


def shows_processes(sandbox: Sandbox, places: Places) -> bool:
    """/proc shows the memory of every process of the same user, unless its program is hidden."""
    return places.is_program_hidden and (sandbox.has_user or sandbox.has_bwrap)
