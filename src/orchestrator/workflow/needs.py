"""What has to be looked at before a task is decided: as little as its stage needs."""

from enum import StrEnum

from orchestrator.domain.model import Stage, Task
from orchestrator.workflow.pipeline import place


class Look(StrEnum):
    """One field of Facts that has to be read outside. An open pull request tells the branch's head too, so the
    branch costs a call of its own only while there is none; paths are read in our own mirror.
    """

    ITEM = "item"
    REMARKS = "remarks"
    BRANCH = "branch"
    DOCUMENTS = "documents"
    PULL = "pull"
    CHANGED_PATHS = "changed_paths"
    RULES = "rules"
    CHECKS = "checks"
    REVIEWS = "reviews"


_ALWAYS = frozenset({Look.ITEM, Look.REMARKS})
_FROM = (
    (Stage.ANALYSIS, frozenset({Look.BRANCH, Look.DOCUMENTS, Look.PULL})),
    (Stage.DEVELOPMENT, frozenset({Look.CHANGED_PATHS})),
    (Stage.CI, frozenset({Look.RULES, Look.CHECKS})),
    (Stage.REVIEW, frozenset({Look.REVIEWS})),
)


def needs(task: Task, *, is_run_open: bool) -> frozenset[Look]:
    """Of a task at its stage. When a decision moves it further, the new stage's needs are looked at and it is
    decided again: until then it waits with `look_due`.
    """
    if task.stage is Stage.DONE or (is_run_open and task.role is not None):
        return frozenset()
    if task.role is not None:
        return frozenset({Look.BRANCH})
    if is_run_open:
        is_past = place(task.stage) >= place(Stage.DEVELOPMENT)
        return _ALWAYS | {Look.PULL} if is_past else _ALWAYS  # somebody may merge what there is already
    if task.stage is Stage.CREATED:
        return frozenset({Look.ITEM, Look.BRANCH})
    here = place(task.stage)
    return _ALWAYS.union(*(looks for stage, looks in _FROM if place(stage) <= here))
