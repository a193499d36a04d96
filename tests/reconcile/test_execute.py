"""What a run's end is called, when the agent's word and the commit differ."""

from orchestrator.domain.run import Outcome, RunResult
from orchestrator.reconcile.execute import _without_commit

SUCCESS = RunResult(Outcome.SUCCEEDED, 0)


def test_success_without_a_commit_is_a_failure() -> None:
    result = _without_commit(SUCCESS)
    assert (result.outcome, result.reason) == (Outcome.FAILED, "no_commit")


def test_success_without_a_commit_after_denied_tools_is_denied_and_names_them() -> None:
    result = _without_commit(RunResult(Outcome.SUCCEEDED, 0, denials=("Bash", "Write")))
    assert result.outcome is Outcome.DENIED
    assert "Bash, Write" in result.detail
