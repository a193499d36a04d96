"""QG-0 by spoiling: one green basis, then each single fact broken in turn."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from orchestrator.domain.model import (
    Branch,
    Project,
    ProjectId,
    RepoName,
    Sha,
    Stage,
    Task,
    TaskId,
    Trigger,
    TriggerKind,
    UserId,
    WorkItem,
    WorkItemId,
)
from orchestrator.domain.roles import Role
from orchestrator.qg.checks import intake
from orchestrator.qg.facts import Absent, Facts, Unobserved
from orchestrator.qg.verdict import Failed, Item, Passed, Unknown, Waiting

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
LATER = NOW + timedelta(seconds=1)
REPO = RepoName("acme", "enduro-trails")
PROJECT = Project(ProjectId("p1"), REPO)
TASK = Task(TaskId(1), Stage.CREATED, WorkItemId("w1"), ProjectId("p1"), "", "", None, "", "", seen_created=True)
ITEM = WorkItem(
    WorkItemId("w1"),
    ProjectId("p1"),
    "ENDURO-1",
    "Title",
    "Text",
    "Todo",
    ("agent:go",),
    (UserId("u1"),),
    is_draft=False,
    is_archived=False,
    created_at=NOW,
    updated_at=NOW,
)
GREEN = Facts(item=ITEM, branch=Branch("feature/ENDURO-1-title", Sha("a" * 40)))


def test_green_facts_open_the_gate_and_say_what_it_rested_on() -> None:
    verdict = intake(PROJECT, TASK, GREEN)
    assert isinstance(verdict, Passed)
    assert [item.code for item in verdict.held] == ["project_mapped", "new_work_item"]


MAPPED = Item("project_mapped", (("repo", str(REPO)),))
NEW = Item("new_work_item", (), ("w1",))

SPOILED = {
    "unmapped": (
        None,
        TASK,
        GREEN,
        Waiting((Item("project_mapping", (("project", "p1"),), (), "operator", "orchestrator.yaml"),)),
    ),
    "draft": (
        PROJECT,
        TASK,
        replace(GREEN, item=replace(ITEM, is_draft=True)),
        Failed((Item("item_is_draft", (("item", "ENDURO-1"),), (), "author", "publish"),), (MAPPED, NEW)),
    ),
    "archived": (
        PROJECT,
        TASK,
        replace(GREEN, item=replace(ITEM, is_archived=True)),
        Failed((Item("item_is_archived", (("item", "ENDURO-1"),), (), "author", "restore"),), (MAPPED, NEW)),
    ),
    "gone": (
        PROJECT,
        TASK,
        replace(GREEN, item=Absent()),
        Failed((Item("item_gone", (("item", "w1"),), (), "author", "restore"),), (MAPPED,)),
    ),
    "no token": (
        PROJECT,
        TASK,
        replace(GREEN, item=Unobserved("no_plane_token")),
        Unknown((Item("no_plane_token", (("detail", ""),), (), "operator", "orch doctor"),), (MAPPED,)),
    ),
    "not new": (
        PROJECT,
        replace(TASK, seen_created=False),
        GREEN,
        Waiting((Item("trigger", (("trigger", "new_item"), ("value", "")), (), "author", "new_item"),), (MAPPED,)),
    ),
    "older than our watch": (
        PROJECT,
        replace(TASK, seen_created=False),
        replace(GREEN, since=LATER),
        Waiting((Item("trigger", (("trigger", "new_item"), ("value", "")), (), "author", "new_item"),), (MAPPED,)),
    ),
}


@pytest.mark.parametrize("name", SPOILED)
def test_each_spoiled_fact_closes_the_gate(name: str) -> None:
    project, task, facts, expected = SPOILED[name]
    assert intake(project, task, facts) == expected


def test_an_item_made_since_we_watch_is_new_though_its_delivery_was_lost() -> None:
    unseen = replace(TASK, seen_created=False)
    assert isinstance(intake(PROJECT, unseen, replace(GREEN, since=NOW)), Passed)


@pytest.mark.parametrize(
    ("kind", "right", "wrong"),
    [
        (TriggerKind.LABEL, "agent:go", "agent:stop"),
        (TriggerKind.STATE, "Todo", "Done"),
        (TriggerKind.ASSIGNEE, "u1", "u2"),
    ],
)
def test_a_project_may_ask_for_a_label_a_state_or_an_assignee(kind: TriggerKind, right: str, wrong: str) -> None:
    assert isinstance(intake(replace(PROJECT, trigger=Trigger(kind, right)), TASK, GREEN), Passed)
    assert isinstance(intake(replace(PROJECT, trigger=Trigger(kind, wrong)), TASK, GREEN), Waiting)


def test_a_posted_task_needs_no_work_item() -> None:
    posted = replace(TASK, plane_id=None, project=None, repo=REPO, role=Role.ANALYST)
    assert isinstance(intake(None, posted, replace(GREEN, item=Absent())), Passed)
