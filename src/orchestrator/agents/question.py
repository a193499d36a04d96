"""One question to the model, asked as agents ask theirs: with the same CLI, sandbox, way and credential. It costs
a few cents and changes nothing; of all that an agent needs it is what no look at settings can tell.
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

from orchestrator.agents.claude import user_message
from orchestrator.agents.prompt import marker_line
from orchestrator.agents.rundir import RunPaths
from orchestrator.agents.runtime import ClaudeRuntime
from orchestrator.agents.workspace import lay_out
from orchestrator.domain.model import RepoName, RunId, Sha, Stage
from orchestrator.domain.roles import Language, Role
from orchestrator.domain.run import RunLimits, RunResult, RunSpec

KEY = "QUESTION"
"""In place of a task's key; those have a number."""
LIMITS = RunLimits(timeout_s=150.0, max_turns=1, max_budget_usd=1.0, silence_s=150.0)
"""The CLI tries what the API refuses again for a minute or two, and says what it was only then."""
_SEARCHABLE = 0o711
"""Who asks may be another user than we are."""


async def ask(runtime: ClaudeRuntime) -> RunResult:
    """How a run ends that has nothing to do. OrchestratorError where none can be started."""
    with _folder(runtime.data_dir) as folder:
        aside, spec = replace(runtime, data_dir=folder), _spec()
        paths = RunPaths.of(folder, spec.run)
        paths.workspace.mkdir(mode=0o700, parents=True)
        paths.lock.touch(0o600)
        lay_out(paths, b"Answer with one word. Use no tool.\n", user_message(_words(spec)))
        try:
            await aside.launch(spec)
            return await aside.wait(spec, lambda _: None)
        finally:
            await aside.stop(spec.run)  # whoever does not wait for the answer leaves nobody behind


@contextmanager
def _folder(data_dir: Path) -> Iterator[Path]:
    """Beside the runs, where sandboxes are known to work; gone afterwards."""
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="question-", dir=data_dir))
    try:
        folder.chmod(_SEARCHABLE)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _words(spec: RunSpec) -> str:
    return f"{marker_line(spec)}\nLanguage: {spec.language}\n\nAnswer with the word ok, and with nothing else.\n"


def _spec() -> RunSpec:
    """Of a task, repository and commit that are not there: nothing is cloned, and nothing is taken."""
    return RunSpec(
        run=RunId(1),
        session_id=str(uuid4()),
        task_key=KEY,
        title="",
        role=Role.ANALYST,
        stage=Stage.ANALYSIS,
        attempt=1,
        repo=RepoName("none", "none"),
        branch="none",
        base_branch="none",
        base_sha=Sha("0" * 40),
        language=Language.EN,
        brief="",
        limits=LIMITS,
    )
