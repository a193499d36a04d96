"""Claude Code as a Cli: ties its command line and its stream of records to the role of a run."""

from collections.abc import Callable
from dataclasses import dataclass

from orchestrator.agents import claude, verdict
from orchestrator.agents.claude import Transcript
from orchestrator.agents.rates import Rates
from orchestrator.agents.rundir import ExitRecord, RunPaths
from orchestrator.domain.run import RoleVerdict, RunResult, RunSpec


@dataclass(slots=True)
class ClaudeReading(Transcript):
    """A transcript that knows what its role owes."""

    verdict_of: Callable[[object], RoleVerdict] | None = None

    def conclude(self, ended: ExitRecord, stderr: str) -> RunResult:
        self.teach()
        return claude.classify(self, ended, stderr, self.verdict_of)


@dataclass(frozen=True, slots=True)
class ClaudeCode:
    """See agents.cli.Cli. The scripted stand-in takes the same flags, so it is this one with another binary."""

    binary: str
    model: str | None = None
    rates: Rates | None = None

    def argv(self, binary: str, spec: RunSpec, paths: RunPaths) -> list[str]:
        schema = verdict.schema(spec.role)
        argv = claude.argv(binary, spec.session_id, paths.role, spec.limits, self.model, schema)
        if spec.earlier and paths.resumed.exists():
            argv += claude.resuming(spec.earlier.session_id)
        return argv

    def reading(self, spec: RunSpec) -> ClaudeReading:
        return ClaudeReading(rates=self.rates, verdict_of=verdict.reader(spec.role, spec.language))
