"""When what we show counts as written over by others."""

from dataclasses import replace

import pytest

from green import GREEN, TASK
from orchestrator.domain.effect import GateStatus
from orchestrator.domain.forge import Check, CheckState
from orchestrator.domain.model import Branch, RepoName, Sha
from orchestrator.domain.tracker import CommentId
from orchestrator.qg.facts import Absent, Unobserved, Us
from orchestrator.reconcile.deliver import GATE_CONTEXT
from orchestrator.reconcile.observe import Observed
from orchestrator.reconcile.overwritten import is_overwritten, suspects

AT = Sha("a" * 40)
KEY = f"{TASK.key}:standing"
COMMENT, STATUS = f"{TASK.id}:standing:item", f"{TASK.id}:status:{AT}"
SAID = GateStatus(RepoName("acme", "shop"), AT, CheckState.PENDING, "what is missing", "")
THEIRS = Check(GATE_CONTEXT, CheckState.SUCCESS, "boss", "all is well")
WELL = Observed(
    item=GREEN.item,
    branch=Branch(TASK.branch, AT),
    comments=(),
    checks=(replace(THEIRS, creator="orchestrator"),),
    us=Us(orchestrator="orchestrator"),
    notes=((KEY, CommentId("c1")),),
)
FORGED = replace(WELL, checks=(THEIRS,))


@pytest.mark.parametrize(
    ("seen", "keys"),
    [
        (WELL, []),
        (replace(WELL, rewritten=frozenset({KEY})), [COMMENT]),
        (replace(WELL, notes=()), [COMMENT]),
        (replace(WELL, notes=(), comments=Unobserved("plane_unreachable")), []),
        (replace(WELL, notes=(), item=Absent()), []),
        (FORGED, [STATUS]),
        (replace(FORGED, checks=(replace(THEIRS, context="ci/test"),)), []),
        (replace(FORGED, checks=Unobserved("gitea_unreachable")), []),
        (replace(FORGED, us=Us()), []),
    ],
)
def test_only_what_was_seen_not_to_be_ours_is_a_suspect(seen: Observed, keys: list[str]) -> None:
    assert list(suspects(TASK, seen)) == keys


def test_a_status_that_says_what_ours_says_is_left_alone() -> None:
    """The forge's adapter does not post the same twice, so it would be tried for ever."""
    same = replace(THEIRS, state=SAID.state, description=SAID.description)
    assert is_overwritten(SAID, FORGED)
    assert not is_overwritten(SAID, replace(FORGED, checks=(same,)))
