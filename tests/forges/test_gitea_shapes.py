"""Answers that the simulator does not give, read from their bytes."""

from typing import Any

import msgspec
import pytest

from orchestrator.domain.forge import BranchRules, CheckState
from orchestrator.forges import gitea_shapes as shapes

COMMIT = {"id": "a" * 40}


def read(raw: Any, wanted: Any) -> Any:
    return msgspec.json.decode(msgspec.json.encode(raw), type=wanted)


@pytest.mark.parametrize(
    ("raw", "wanted"),
    [
        ({"enable_status_check": False, "status_check_contexts": ["ci"]}, BranchRules()),
        ({"enable_status_check": True, "status_check_contexts": ["ci", " "]}, BranchRules(("ci",))),
        ({"enable_status_check": True, "status_check_contexts": []}, BranchRules(("*",))),
        ({"enable_status_check": True, "status_check_contexts": None}, BranchRules(("*",))),
        ({"required_approvals": -1}, BranchRules()),
    ],
)
def test_rules_count_when_they_are_on_and_on_without_names_means_all(raw: Any, wanted: BranchRules) -> None:
    assert shapes.rules(read({"name": "main", "commit": COMMIT} | raw, shapes.BranchRow)) == wanted


@pytest.mark.parametrize(("repo_id", "is_ours"), [(5, True), (6, False), (-1, False)])
def test_a_strangers_branch_of_the_same_name_is_not_ours(repo_id: int, is_ours: bool) -> None:
    head = {"ref": "feature/x", "label": "feature/x", "sha": "a" * 40, "repo_id": repo_id}
    base = {"ref": "main", "label": "main", "sha": "b" * 40, "repo_id": 5}
    row = read({"number": 1, "title": "t", "state": "open", "head": head, "base": base}, shapes.PullRow)
    assert row.is_between("main", "feature/x") is is_ours
    assert not row.is_between("main", "feature/y")
    assert not row.is_between("dev", "feature/x")


def test_of_a_context_the_highest_number_counts_in_whatever_order_and_under_either_key() -> None:
    rows = [
        {"id": 2, "context": "a", "status": "success"},
        {"id": 3, "context": "a", "state": "failure"},
        {"id": 1, "context": "a", "status": "pending", "creator": None, "description": None, "target_url": None},
    ]
    for order in (rows, rows[::-1]):
        (row,) = shapes.newest(read(order, list[shapes.StatusRow]))
        assert shapes.check(row).state is CheckState.FAILURE


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "https://x/ y", 'https://x/"onload', "https://x/<b>", "/rel"]
)
def test_a_link_that_is_not_of_the_web_is_not_shown(url: str) -> None:
    assert shapes.shown_url(url) == ""
    assert shapes.shown_url("https://ci.test/1?a=b#c") == "https://ci.test/1?a=b#c"
