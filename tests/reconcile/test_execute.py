"""What a run's end is called, when the agent's word and the commit differ."""

from typing import Any

import pytest

from orchestrator.clock import SystemClock
from orchestrator.db import Database
from orchestrator.domain.model import RepoName, RunId, Sha, Stage
from orchestrator.domain.roles import Language, Role
from orchestrator.domain.run import Outcome, RunLimits, RunResult, RunSpec
from orchestrator.reconcile.dispatch import Dispatch
from orchestrator.reconcile.execute import Execution, _without_commit
from orchestrator.workflow.admission import AdmissionLimits

SUCCESS = RunResult(Outcome.SUCCEEDED, 0)


def test_success_without_a_commit_is_a_failure() -> None:
    result = _without_commit(SUCCESS)
    assert (result.outcome, result.reason) == (Outcome.FAILED, "no_commit")


def test_success_without_a_commit_after_denied_tools_is_denied_and_names_them() -> None:
    result = _without_commit(RunResult(Outcome.SUCCEEDED, 0, denials=("Bash", "Write")))
    assert result.outcome is Outcome.DENIED
    assert "Bash, Write" in result.detail


class _Collecting:
    """A runtime that would take whatever an agent committed, and notes that it was asked."""

    def __init__(self) -> None:
        self.asked: list[Role] = []

    def was_stopped(self, _run: RunId) -> bool:
        return False

    async def collect(self, spec: RunSpec, _model: str = "") -> Sha:
        self.asked.append(spec.role)
        return Sha("2" * 40)

    async def publish(self, spec: RunSpec, head: Sha) -> None:
        return


@pytest.mark.parametrize("role", list(Role))
async def test_what_reviewer_and_tester_commit_is_dropped(database: Database, role: Role) -> None:
    runtime: Any = _Collecting()
    limits = RunLimits(1, 1, 1)
    dispatch = Dispatch(database, SystemClock(), AdmissionLimits())
    execution = Execution(database, SystemClock(), runtime, lambda _: None, limits, dispatch=dispatch)
    spec = RunSpec(
        run=RunId(1), session_id="", task_key="A-1", title="", role=role, stage=Stage.REVIEW, attempt=1,
        repo=RepoName("acme", "shop"), branch="b", base_branch="main", base_sha=Sha("1" * 40),
        language=Language.EN, brief="", limits=limits,
    )  # fmt: skip
    _, head = await execution._deliver(spec, SUCCESS)
    commits = role in {Role.ANALYST, Role.ARCHITECT, Role.DEVELOPER}
    assert runtime.asked == ([role] if commits else [])
    assert (head is not None) is commits
