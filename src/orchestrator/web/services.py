"""What pages and endpoints need of the process that they are part of."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Protocol

from fastapi import Depends, Request

from orchestrator.counters import Counters
from orchestrator.db import Database
from orchestrator.domain.finding import Finding
from orchestrator.domain.model import Person, Project, RepoName
from orchestrator.pace import Circuit, Pace
from orchestrator.ports import Clock, Engine
from orchestrator.reconcile.dispatch import Dispatch
from orchestrator.reconcile.papers import Papers
from orchestrator.store.views import TaskView
from orchestrator.web.about import About
from orchestrator.web.live import Changes
from orchestrator.web.signin.gitea import GiteaSignIn
from orchestrator.web.signin.identity import Identity


class Neighbour(Protocol):
    """Plane or Gitea, as we call it as one user: how it answered, and what holds calls up."""

    @property
    def system(self) -> str: ...
    @property
    def answers(self) -> Mapping[str, int]: ...
    @property
    def pace(self) -> Pace | None: ...
    @property
    def circuit(self) -> Circuit: ...


@dataclass(frozen=True, slots=True)
class Services:
    """`known` is missing as far as we know already; `look` finds what is so now. `forge_address` is where browsers
    find the forge; empty when nobody said.
    """

    database: Database
    clock: Clock
    engine: Callable[[], Engine]
    projects: Callable[[], Sequence[Project]]
    project_of_repo: Callable[[RepoName], Project | None]
    people: Sequence[Person]
    known: Callable[[], Sequence[Finding]]
    look: Callable[[], Awaitable[Sequence[Finding]]]
    dispatch: Dispatch
    item_address: Callable[[str], str]
    forge_address: str
    papers: Papers
    changes: Changes
    identity: Identity
    gitea_sign_in: GiteaSignIn | None
    about: About = field(default_factory=About)
    counters: Counters = field(default_factory=Counters)
    neighbours: Sequence[Neighbour] = ()
    runs_disk_bytes: Callable[[], int] = int

    def item_link(self, task: TaskView) -> str | None:
        """None for a task without a work item, and without an address."""
        return (self.item_address(task.key) or None) if task.plane_id else None


async def _given(request: Request) -> Services:
    """Routes are made once a process, and each app has services of its own."""
    services: Services = request.app.state.services
    return services


Given = Annotated[Services, Depends(_given)]
"""What an endpoint works with: a parameter of it."""
