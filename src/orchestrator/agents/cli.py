"""An agent's command line program, as the runtime sees it: what is run, and what its output says.

Locks, shims, limits and workspaces are the same for every program, so another one needs only these two answers.
"""

from typing import Protocol

from orchestrator.agents.rundir import ExitRecord, RunPaths
from orchestrator.domain.run import RunResult, RunSpec, Usage


class Reading(Protocol):
    """Follows one run's log, piece by piece, however it is cut. Its memory is bounded."""

    @property
    def usage(self) -> Usage:
        """What was used so far."""
        ...

    @property
    def cli_version(self) -> str:
        """Empty until the log tells."""
        ...

    @property
    def model(self) -> str:
        """Empty until the log tells."""
        ...

    def feed(self, piece: bytes) -> None:
        """What came since."""
        ...

    def conclude(self, ended: ExitRecord, stderr: str) -> RunResult:
        """How the attempt ended, when all of the log was fed. By structure, never by what the model said."""
        ...


class Cli(Protocol):
    """One program. It reads its prompt from standard input and writes its log to standard output."""

    @property
    def binary(self) -> str:
        """A path, or a name looked up in PATH."""
        ...

    def argv(self, binary: str, spec: RunSpec, paths: RunPaths) -> list[str]:
        """The whole command; no text from outside stands in it."""
        ...

    def reading(self, spec: RunSpec) -> Reading:
        """A reader for one run's log, from its first byte."""
        ...
