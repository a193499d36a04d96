"""A look costs as little as its stage needs."""

from dataclasses import replace
from itertools import pairwise

import pytest

from green import TASK
from orchestrator.domain.model import Stage
from orchestrator.domain.roles import Role
from orchestrator.workflow.needs import Look, needs

FREE = {Look.CHANGED_PATHS}
"""Read in our own mirror."""


@pytest.mark.parametrize("stage", Stage)
def test_an_unchanged_task_costs_at_most_seven_calls(stage: Stage) -> None:
    """With a pull request its head is the branch's; without one there are no reviews and no checks to read."""
    wanted = needs(replace(TASK, stage=stage), is_run_open=False)
    assert len(wanted - FREE - {Look.BRANCH}) <= 7


def test_the_needs_grow_with_the_stage() -> None:
    order = [needs(replace(TASK, stage=stage), is_run_open=False) for stage in list(Stage)[:-1]]
    assert all(earlier <= later for earlier, later in pairwise(order))
    assert order[0] == {Look.ITEM, Look.BRANCH}
    assert order[-1] == set(Look)


@pytest.mark.parametrize("stage", list(Stage)[:-1])
def test_beside_an_open_run_only_what_may_stop_it_is_read(stage: Stage) -> None:
    """Where there may be a pull request, somebody may merge it meanwhile."""
    is_early = stage in {Stage.CREATED, Stage.ANALYSIS, Stage.ARCHITECTURE}
    wanted = {Look.ITEM, Look.REMARKS} if is_early else {Look.ITEM, Look.REMARKS, Look.PULL}
    assert needs(replace(TASK, stage=stage), is_run_open=True) == wanted


def test_done_needs_nothing_and_a_posted_task_its_branch() -> None:
    assert not needs(replace(TASK, stage=Stage.DONE), is_run_open=False)
    posted = replace(TASK, stage=Stage.REVIEW, role=Role.REVIEWER)
    assert needs(posted, is_run_open=False) == {Look.BRANCH}
    assert not needs(posted, is_run_open=True)
