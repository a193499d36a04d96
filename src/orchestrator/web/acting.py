"""What people and programs order: the one way behind the API's changing endpoints and the dashboard's forms.

Each raises Rejected with the reason when it cannot be done, and returns when it is committed.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Literal, TypeVar

import structlog
from sqlalchemy import Connection

from orchestrator.domain.errors import Rejected
from orchestrator.domain.model import RepoName, RunId, Stage, Task
from orchestrator.domain.roles import Role
from orchestrator.store import journal, views
from orchestrator.store import runs as run_rows
from orchestrator.store import tasks as task_rows
from orchestrator.store.tasks import Posted
from orchestrator.web.services import Services

log = structlog.get_logger()
T = TypeVar("T")
MAX_NAMED_CHARS = 60
Kind = Literal["task", "run", "event", "decision", "token"]


class Absent(Rejected):
    """404: there is none with this name. A page says it in its reader's language."""

    def __init__(self, kind: Kind, name: object) -> None:
        self.kind, self.name = kind, str(name)[:MAX_NAMED_CHARS]
        super().__init__("not_found", f"There is no {kind} {self.name}.", status=404)


def there(found: T | None, kind: Kind, name: object) -> T:
    """Absent when it is not."""
    if found is None:
        raise Absent(kind, name)
    return found


async def post(
    services: Services, repository: str, role: Role, brief: str, title: str = "", order_key: str | None = None
) -> Task:
    """Starts one run of one role with the given text, on a branch of its own; once for each `order_key`."""
    posted = replace(_posted(services, repository, role, brief, title), order_key=order_key)
    now = services.clock.now()
    task = await services.database.write(lambda connection: task_rows.post(connection, posted, now))
    services.engine().wake(task.id)
    return task


async def retry(services: Services, key: str) -> None:
    """Grants one more attempt to a task whose last run did not succeed."""
    task, now = await _task(services, key), services.clock.now()
    with _looked_at(services, task):
        granted = await services.database.write(lambda connection: task_rows.retry(connection, task.id, now))
    if not granted:
        raise Rejected(
            "nothing_to_retry", f"No run of {task.key} has ended badly; nothing is to be retried.", status=409
        )


async def cancel_task(services: Services, key: str) -> None:
    """Stops what is at work for the task, and starts nothing more until it is resumed."""
    task, now = await _task(services, key), services.clock.now()
    if task.stage is Stage.DONE:
        raise Rejected("task_over", f"{task.key} is done already.", status=409)

    def commit(connection: Connection) -> list[RunId]:
        task_rows.switch(connection, task.id, now, is_cancelled=True)
        return run_rows.open_of_task(connection, task.id)

    with _looked_at(services, task):
        # Not left to the look that follows: it may have to wait for Plane.
        for run in await services.database.write(commit):
            await services.engine().cancel_run(run)


async def cancel_run(services: Services, run: int) -> None:
    """Asks the run to stop; it ends within ten seconds with outcome `cancelled`."""
    found = await services.database.read(lambda connection: views.run(connection, RunId(run)))
    if there(found, "run", run).state == "ended":
        raise Rejected("run_over", f"Run {run} has ended already.", status=409)
    await services.engine().cancel_run(RunId(run))


async def pause(services: Services, key: str) -> None:
    """As `/orch pause` in a comment: none of its agents starts; one at work goes on."""
    await _pause_task(services, key, is_paused=True)


async def resume(services: Services, key: str) -> None:
    """As `/orch resume` in a comment; takes back `/orch cancel`, too."""
    await _pause_task(services, key, is_paused=False)


async def pause_all(services: Services) -> None:
    """No agent of any task starts until it is resumed, whatever asks for it; those at work go on."""
    await services.dispatch.pause_all(is_paused=True)
    services.engine().admit()


async def resume_all(services: Services) -> None:
    """Ends the pause of everything; the pauses of single tasks stay."""
    try:
        await services.dispatch.pause_all(is_paused=False)
    finally:
        services.engine().admit()  # see _looked_at


async def replay(services: Services, event: int) -> None:
    """Looks again at the task that the event belongs to. An event is a hint: it adds no event and no fact."""
    known, task = await services.database.read(lambda connection: journal.task_of(connection, event))
    if not known:
        raise Absent("event", event)
    if task is None:
        raise Rejected(
            "no_task",
            f"Event {event} belongs to no task, so there is nothing to look at again.",
            status=409,
            hint="The event itself says why it was ignored.",
        )
    log.info("event_replayed", event_id=event, task=task)
    services.engine().wake(task)


async def _task(services: Services, key: str) -> Task:
    found = await services.database.read(lambda connection: task_rows.by_key(connection, key))
    return there(found, "task", key)


async def _pause_task(services: Services, key: str, *, is_paused: bool) -> None:
    task = await _task(services, key)
    with _looked_at(services, task):
        await services.dispatch.pause_task(task.id, is_paused=is_paused)


@contextmanager
def _looked_at(services: Services, task: Task) -> Iterator[None]:
    """After the step, and also when it failed: a commit that is reported as failed may have been done, and nobody
    else would look before the next resync.
    """
    try:
        yield
    finally:
        services.engine().admit()
        services.engine().wake(task.id)


def _posted(services: Services, repository: str, role: Role, brief: str, title: str) -> Posted:
    try:
        repo = RepoName.parse(repository)
    except ValueError as error:
        raise Rejected("bad_repository", f"{error}.", status=422) from error
    project = services.project_of_repo(repo)
    if project is None:
        raise Rejected(
            "unknown_repository",
            f"{repo} is not in orchestrator.yaml.",
            status=422,
            hint="Map it to a Plane project there, and restart.",
        )
    return Posted(role, project.repo, title or _first_line(brief), brief, project.base_branch)


def _first_line(brief: str) -> str:
    return next(iter(brief.strip().splitlines()), "")[:100]
