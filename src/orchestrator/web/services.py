"""What pages and endpoints need of the process that they are part of."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from orchestrator.db import Database
from orchestrator.domain.finding import Finding
from orchestrator.domain.model import Person, Project, RepoName
from orchestrator.ports import Clock, Engine
from orchestrator.reconcile.dispatch import Dispatch
from orchestrator.store.views import TaskView


@dataclass(frozen=True, slots=True)
class Services:
    """`known` is missing as far as we know already; `look` finds what is so now."""

    database: Database
    clock: Clock
    engine: Callable[[], Engine]
    project_of_repo: Callable[[RepoName], Project | None]
    people: Sequence[Person]
    known: Callable[[], Sequence[Finding]]
    look: Callable[[], Awaitable[Sequence[Finding]]]
    dispatch: Dispatch
    item_address: Callable[[str], str]

    def item_link(self, task: TaskView) -> str | None:
        """None for a task without a work item, and without an address."""
        return (self.item_address(task.key) or None) if task.plane_id else None
