"""The level of this machine, measured once; and each run's way into it. Never less than was asked for."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from orchestrator.agents import bubblewrap, confine, sandbox
from orchestrator.agents.forwarder import Target
from orchestrator.agents.hidden import hidden, is_hidden
from orchestrator.agents.launcher import ApiRoute
from orchestrator.agents.probe import Measured, Probe
from orchestrator.agents.rundir import RunPaths
from orchestrator.agents.sandbox import Bounds, Capability, Confinement, Places, Reach, Sandbox
from orchestrator.agents.uids import Pool, locks_file
from orchestrator.domain.errors import Permanent

_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


@dataclass(frozen=True, slots=True)
class Wish:
    """What the operator asked for. `asked` None: all that works."""

    asked: frozenset[Capability] | None = None
    least: frozenset[Capability] = frozenset({Capability.LANDLOCK})

    @property
    def tried(self) -> frozenset[Capability]:
        return frozenset(Capability) if self.asked is None else self.asked

    @property
    def needed(self) -> frozenset[Capability]:
        """What was named outright is never silently left out."""
        return self.least | (self.asked or frozenset())


@dataclass(frozen=True, slots=True)
class Way:
    """What a shim is given: the policy, and descriptors that it keeps open for as long as it lives."""

    policy: bytes
    is_forwarded: bool = False
    """The run's own forwarder is its only way out."""
    kept: tuple[int, ...] = ()


NO_SANDBOX = Way(confine.OPEN)


@dataclass(slots=True)
class Sandboxes:
    """Blocking: call it in a thread."""

    data_dir: Path
    wish: Wish = field(default_factory=Wish)
    uids: tuple[int, int] = (64000, 64099)
    toolchains: tuple[str, ...] = ()
    bounds: Bounds = field(default_factory=Bounds)
    abi_max: int = 7
    _measured: Measured | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def pool(self) -> Pool:
        return Pool(locks_file(self.data_dir), *self.uids)

    def measured(self) -> Measured:
        """Tried once; a change of the machine is seen after a restart."""
        with self._lock:
            if self._measured is None:
                probe = Probe(self.data_dir, self.pool, toolchains=self.toolchains, abi_max=self.abi_max)
                self._measured = probe.measure(self.wish.tried)
            return self._measured

    def admitted(self) -> Sandbox:
        """The level for a run; Permanent when it is below what was asked for."""
        level = self.measured().sandbox
        if lacking := self.lacks():
            raise Permanent("sandbox_too_weak", refusal(level, lacking), hint=_ACCEPT)
        return level

    def lacks(self) -> dict[Capability, str]:
        """What is needed and cannot be had here, each with the reason."""
        measured = self.measured()
        lacking = sorted(self.wish.needed - measured.sandbox.capabilities)
        return {one: measured.missing.get(one, "not asked for") for one in lacking}

    def program(self, binary: str) -> str:
        """What is started instead of the CLI: a copy that cannot be read, so that its memory cannot either."""
        if self.admitted() == sandbox.NONE:
            return binary
        return str(hidden(Path(binary), self.data_dir / "cli"))

    @contextmanager
    def way(self, paths: RunPaths, program: str, route: ApiRoute) -> Iterator[Way]:
        """The descriptors are closed here at the end: by then the shim has its own."""
        with self._way(paths, program, reach(self.admitted(), route)) as way:
            yield way

    @contextmanager
    def errand(self, paths: RunPaths, program: str) -> Iterator[Way]:
        """As `way`, for a program of ours that looks at what the agent left: it reaches nothing. The uid may be
        another one than the agent's, which may be lent again by now.
        """
        with self._way(paths, program, Reach()) as way:
            yield way

    @contextmanager
    def _way(self, paths: RunPaths, program: str, reach: Reach) -> Iterator[Way]:
        level = self.admitted()
        if level == sandbox.NONE:
            yield NO_SANDBOX
            return
        places, is_forwarded = self._places(paths, program), bool(reach.forward)
        if not level.has_user:
            yield Way(self._policy(level, places, reach, None, None), is_forwarded)
            return
        self._open_the_way_to(paths)
        with self.pool.lend() as (uid, lock):
            names = paths.root / "names" if level.has_bwrap else None
            if names:
                bubblewrap.write_names(names, uid, places.home)
            yield Way(self._policy(level, places, reach, uid, names), is_forwarded, (lock,))

    def _places(self, paths: RunPaths, program: str) -> Places:
        return Places(
            str(paths.workspace),
            str(paths.home),
            str(paths.tmp),
            readable=tuple(str(one) for one in (paths.role, paths.authorities) if one.exists()),
            program=program,
            is_program_hidden=is_hidden(Path(program)),
            toolchains=self.toolchains,
        )

    def _policy(self, level: Sandbox, places: Places, reach: Reach, uid: int | None, names: Path | None) -> bytes:
        wrapper: Sequence[str] = ()
        if level.has_bwrap:
            bwrap = bubblewrap.found() or "bwrap"
            most = self.bounds.memory_max_bytes
            outer = bubblewrap.wrapper(bwrap, places, uid=uid, names=names, memory_max_bytes=most)
            wrapper = [*outer, *bubblewrap.inner()]
        confinement = Confinement(level, places, reach, self.bounds)
        return sandbox.policy_bytes(confinement, uid, wrapper)

    def _open_the_way_to(self, paths: RunPaths) -> None:
        """Searchable, not readable: names below stay unknown to who does not have them."""
        paths.root.parent.chmod(0o711)


def reach(level: Sandbox, route: ApiRoute) -> Reach:
    """A model on loopback is connected to directly; any other one through the run's own forwarder."""
    if not level.landlock_abi:
        return Reach()
    parts = urlsplit(route.base_url or "")
    if parts.hostname in _LOOPBACK:
        return Reach(ports=(parts.port or (443 if parts.scheme == "https" else 80),))
    return Reach(forward=str(Target.of(route.base_url, route.proxy)))


def refusal(level: Sandbox, lacking: Mapping[Capability, str]) -> str:
    reasons = "; ".join(f"{one}: {why}" for one, why in lacking.items())
    return f"Agents can only be sandboxed as {str(level)!r} here, less than what is needed ({reasons})."


_ACCEPT = (
    "Mend that, or accept less with ORCH_MIN_SANDBOX=none (and ORCH_SANDBOX=auto): then an agent can do what "
    "docs/explanation/sandbox.md says of that level."
)
