"""Rows of `tasks`."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, Select, bindparam, func, insert, select, update
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.exc import NoResultFound

from orchestrator.db import say
from orchestrator.domain.errors import Rejected, Transient
from orchestrator.domain.events import WorkItemChanged
from orchestrator.domain.feedback import Feedback
from orchestrator.domain.model import (
    NO_SWITCHES,
    Branch,
    ProjectId,
    RepoName,
    Return,
    Sha,
    Stage,
    Switches,
    Task,
    TaskId,
    WorkItem,
    WorkItemId,
)
from orchestrator.domain.roles import Role
from orchestrator.domain.run import Outcome, RunState
from orchestrator.qg.runs import NOT_WANTED
from orchestrator.qg.verdict import Item
from orchestrator.store import canonical, stays
from orchestrator.store.decisions import Basis, Made
from orchestrator.store.prepared import Prepared
from orchestrator.store.schema import agent_runs, effects, events, next_revision, tasks, watermarks
from orchestrator.workflow.decision import Decision, StartRun, about_to_start, required
from orchestrator.workflow.names import posted_branch_name

PARKED = frozenset({"no_progress", "cap_reached", "output_missing"})
RETRY = frozenset({"retry", "orch retry"})
"""Actions that ask an operator to say that a task is to go on."""
UNDECIDED = Item("to_be_decided", who="orchestrator")
"""Why a task waits between an event and the look that it wakes."""
_UNDECIDED: dict[str, object] = {"waiting": msgspec.json.encode((UNDECIDED,)).decode(), "decided": None}
"""The next decision is stored even if it is the old one: else nobody would learn any more why the task waits."""
MOST_NOT_BEGUN = 1000
"""Tasks of a project that have not begun, of which a deletion is looked for."""
SINCE = "since"
"""The parameter that says since when, of a reason that no decision knows."""


_UPSERT = upsert(tasks).values(revision=next_revision())
_ENSURE = Prepared(
    _UPSERT.on_conflict_do_update(
        index_elements=[tasks.c.plane_id],
        set_={"seen_created": func.max(tasks.c.seen_created, _UPSERT.excluded.seen_created)},
    ).returning(tasks.c.id),
    ("plane_id", "plane_project_id", "title", "seen_created", "waiting", "created_at", "updated_at"),
)
_NEVER_SET = canonical.encode(NO_SWITCHES)
_OF_ID = tasks.c.id == bindparam("of_task")
_GET = select(tasks).where(_OF_ID)
_FOR_LOOK = Prepared(
    _GET.add_columns(
        select(watermarks.c.since)
        .where(watermarks.c.project_id == tasks.c.plane_project_id)
        .scalar_subquery()
        .label("followed_since"),
        select(func.max(events.c.id))
        .where(events.c.task_id == tasks.c.id)
        .scalar_subquery()
        .label("newest_event"),
    )
)
_SET = update(tasks).where(_OF_ID).values(revision=next_revision())
_LEFT = select(effects.c.task_id).where(effects.c.done_at.is_(None))
_SET_SAME = _SET.where(func.coalesce(tasks.c.switches, _NEVER_SET) == bindparam("known"))


@cache
def _set_same(columns: tuple[str, ...]) -> Prepared:
    """Decisions set one of a few lists of columns."""
    return Prepared(_SET_SAME, columns)


def ensure_for_item(connection: Connection, changed: WorkItemChanged, now: datetime) -> TaskId:
    """The task of a work item; made when it is not there, since `created` may never come."""
    row = {
        "plane_id": changed.item,
        "plane_project_id": changed.project,
        "title": changed.title,
        "seen_created": changed.is_new,
        "waiting": waiting_text((UNDECIDED,)),
        "created_at": now,
        "updated_at": now,
    }
    return TaskId(_ENSURE.scalar(connection, row))


def ensure_for_listed(connection: Connection, item: WorkItem, now: datetime) -> TaskId:
    """As above, for an item that a resync found and no delivery told of."""
    changed = WorkItemChanged(item.project, item.id, item.title, is_new=False, actor=None)
    return ensure_for_item(connection, changed, now)


@dataclass(frozen=True, slots=True)
class Posted:
    """A task that the API posts: it has no work item, and names its repository and role itself. `order_key` is the
    sender's own name for this order.
    """

    role: Role
    repo: RepoName
    title: str
    brief: str
    base_branch: str
    order_key: str | None = None


def post(connection: Connection, posted: Posted, now: datetime) -> Task:
    """The task of this order; one that was posted under its key before is that one. Rejected when that key was
    given to something else.
    """
    return _posted_before(connection, posted) or _post(connection, posted, now)


def _posted_before(connection: Connection, posted: Posted) -> Task | None:
    if posted.order_key is None:
        return None
    row = connection.execute(select(tasks).where(tasks.c.order_key == posted.order_key)).one_or_none()
    if row and (row.repo, row.role, row.title, row.brief) != (
        str(posted.repo),
        posted.role,
        posted.title,
        posted.brief,
    ):
        raise Rejected(
            "key_reused",
            f"{row.key} was posted under this Idempotency-Key, and asks for something else.",
            status=422,
            hint="Take a new key, such as a UUID, for each task.",
        )
    return _task(row) if row else None


def _post(connection: Connection, posted: Posted, now: datetime) -> Task:
    row: dict[str, object] = {
        "repo": str(posted.repo),
        "role": posted.role,
        "title": posted.title,
        "brief": posted.brief,
        "base_branch": posted.base_branch,
        "order_key": posted.order_key,
        "waiting": waiting_text((UNDECIDED,)),
        "created_at": now,
        "updated_at": now,
    }
    ident = connection.execute(
        insert(tasks).values(row | {"revision": next_revision()}).returning(tasks.c.id)
    ).scalar_one()
    key = f"TASK-{ident}"
    named = {"key": key, "branch": posted_branch_name(key, posted.role)}
    connection.execute(_SET, {"of_task": ident} | named)
    return get(connection, TaskId(ident))


def get(connection: Connection, task: TaskId) -> Task:
    return _task(connection.execute(_GET, {"of_task": task}).one())


def by_key(connection: Connection, key: str) -> Task | None:
    row = connection.execute(select(tasks).where(tasks.c.key == key)).one_or_none()
    return _task(row) if row else None


@dataclass(frozen=True, slots=True)
class ForLook:
    """What a look begins with. `decided` is the digest of the last stored decision, so that an unchanged one is
    not stored again; `since`: when we began to follow the project; the look sees all up to `newest_event`;
    `waiting`: what the task waits for, as it is stored.
    """

    task: Task
    decided: str | None
    since: datetime | None
    newest_event: int
    waiting: str


def for_look(connection: Connection, task: TaskId) -> ForLook:
    row = _FOR_LOOK.first(connection, {"of_task": task})
    if row is None:
        raise NoResultFound(f"There is no task {task}.")
    return ForLook(_task(row), row.decided, row.followed_since, row.newest_event or 0, row.waiting)


def apply(connection: Connection, way: Sequence[Made], now: datetime) -> None:
    """Moves the row to where the last decision says it stands; those before it led there, each one from where its
    predecessor left the task.
    """
    first = way[0].basis.task
    values: dict[str, object] = {"updated_at": now}
    for one in way:
        values |= _values(one.basis, one.decision)
    values["decided"] = way[-1].digest
    whose = {"of_task": first.id, "known": _switches(first)}
    if not _set_same(tuple(values)).run(connection, whose | values):
        raise Transient("task_changed", "An operator changed the task while it was looked at.", retry_after_s=0)
    for one in way:
        if one.decision.stage is not one.basis.task.stage:
            stays.left(connection, first.id, one.basis.task.stage, _cause(one), now)


def _cause(move: Made) -> str:
    """What sent it back; nothing when it moves on."""
    is_new = len(move.decision.returns) > len(move.basis.task.returns)
    return move.decision.returns[-1].cause if is_new else ""


def _values(basis: Basis, decision: Decision) -> dict[str, object]:
    """Columns that a decision sets. Not always the same: what it does not name stays."""
    values: dict[str, object] = {
        "stage": decision.stage,
        "waiting": waiting_text(_waits_for(decision)),
        "agent_running": _is_agent_running(decision),
        "switches": canonical.encode(decision.switches),
        "returns": canonical.encode(decision.returns),
    }
    if decision.identity:
        who = decision.identity
        values |= {"key": who.key, "title": who.title, "repo": str(who.repo)}
        values |= {"branch": who.branch, "base_branch": who.base_branch}
    if isinstance(basis.facts.branch, Branch):
        values["head_sha"] = basis.facts.branch.head  # whoever pushed it: a check names only its commit
    if isinstance(basis.facts.item, WorkItem):
        values["brief"] = basis.facts.item.description
    return values


def applied(basis: Basis, decision: Decision) -> Task:
    """What `get` returns after `apply`, for who decides on before it is committed."""
    task, item, who = basis.task, basis.facts.item, decision.identity
    brief = item.description if isinstance(item, WorkItem) else task.brief
    moved = replace(task, stage=decision.stage, brief=brief, switches=decision.switches, returns=decision.returns)
    if who is None:
        return moved
    return replace(
        moved, key=who.key, title=who.title, repo=who.repo, branch=who.branch, base_branch=who.base_branch
    )


def _waits_for(decision: Decision) -> tuple[Item, ...]:
    """While an agent is on its way there is a reason too."""
    coming = () if required(decision.waiting) else about_to_start(decision)
    return (*coming, *decision.waiting)


def _switches(task: Task) -> str:
    return canonical.encode(task.switches)


def _is_agent_running(decision: Decision) -> bool:
    is_waited_for = any(item.code in {"run_intended", "run_running"} for item in decision.waiting)
    return is_waited_for or any(isinstance(action, StartRun) for action in decision.actions)


def stuck(
    connection: Connection, task: TaskId, waiting: Sequence[Item], now: datetime, before: str | None = None
) -> None:
    """Says why a task waits when no decision knows it, and since when; the next decision is stored even if it is
    the old one. `before`: why it waited when the look began, where the row says something else by now.
    """
    if before is None:
        before = connection.execute(select(tasks.c.waiting).where(tasks.c.id == task)).scalar_one()
    told = [_with_age(one, waiting_items(before), now) for one in waiting]
    values = {"waiting": waiting_text(told), "decided": None, "updated_at": now}
    connection.execute(_SET, {"of_task": task} | values)


def _with_age(item: Item, before: Sequence[Item], now: datetime) -> Item:
    """With the time at which the same was said first: of other items the stored decisions tell it."""
    began = (dict(one.params).get(SINCE) for one in before if one.code == item.code)
    since = next((at for at in began if at), now.isoformat())
    return msgspec.structs.replace(item, params=(*item.params, (SINCE, since)))


def run_ended(connection: Connection, task: TaskId, head: Sha | None, now: datetime) -> None:
    values: dict[str, object] = {"agent_running": False, "updated_at": now} | _UNDECIDED
    if head:
        values["head_sha"] = head
    connection.execute(_SET, {"of_task": task} | values)


def retry(connection: Connection, task: TaskId, now: datetime) -> bool:
    """Grants one more attempt after the last one; False when no run has ended badly. A posted task's money is
    counted anew: nobody can comment `/orch budget` on it.
    """
    of_task, is_wanted = agent_runs.c.task_id == task, agent_runs.c.reason != NOT_WANTED
    last = select(agent_runs).where(of_task, is_wanted).order_by(agent_runs.c.id.desc()).limit(1)
    run = connection.execute(last).one_or_none()
    if run is None or run.state != RunState.ENDED:
        return False
    if run.outcome == Outcome.SUCCEEDED and not _is_parked(connection, task):
        return False
    here = get(connection, task)
    made: int = connection.execute(select(func.count()).where(of_task)).scalar_one()
    granted = replace(
        here.switches,
        **_granted(connection, here, run),
        retry_runs=made,
        retry_returns=len(here.returns),
        budget_after=made if here.role else here.switches.budget_after,
    )
    values = {"switches": canonical.encode(granted), "updated_at": now} | _UNDECIDED
    connection.execute(_SET, {"of_task": task} | values | _posted(here, run.attempt))
    return True


def _is_parked(connection: Connection, task: TaskId) -> bool:
    """It waits for somebody to say so, though the last run itself ended well."""
    waiting = connection.execute(select(tasks.c.waiting).where(tasks.c.id == task)).scalar_one()
    return any(item.code in PARKED or item.action in RETRY for item in waiting_items(waiting))


def _granted(connection: Connection, here: Task, last: Row[Any]) -> dict[str, Any]:
    """After which attempt of which stage. When the last run ended well it is not what the task is parked for."""
    stage = Stage(last.stage) if last.outcome != Outcome.SUCCEEDED else here.stage
    of_stage = select(func.coalesce(func.max(agent_runs.c.attempt), 0)).where(
        agent_runs.c.task_id == here.id, agent_runs.c.stage == stage, agent_runs.c.reason != NOT_WANTED
    )
    return {"retry_stage": stage, "retry_after": connection.execute(of_stage).scalar_one()}


def switch(connection: Connection, task: TaskId, now: datetime, *, is_cancelled: bool) -> None:
    """What an approver's `/orch cancel` and `/orch resume` do, by whoever holds the API token."""
    here = get(connection, task).switches
    is_paused = here.is_paused and is_cancelled
    switches = canonical.encode(replace(here, is_cancelled=is_cancelled, is_paused=is_paused))
    values = {"switches": switches, "updated_at": now} | _UNDECIDED
    connection.execute(_SET, {"of_task": task} | values)


def pause(connection: Connection, task: TaskId, now: datetime, *, is_paused: bool) -> None:
    """An operator's `/orch pause` or `/orch resume`."""
    here = get(connection, task)
    switches = replace(here.switches, is_paused=is_paused)
    if not is_paused:
        switches = replace(switches, is_cancelled=False)
    connection.execute(_SET, {"of_task": task, "switches": canonical.encode(switches), "updated_at": now})


def _posted(task: Task, attempt: int) -> dict[str, object]:
    """A posted task has one stage, and its attempts are granted by number alone."""
    return {"retry_after": attempt} if task.role else {}


def under_way(connection: Connection) -> list[TaskId]:
    """Open tasks that have begun. A branch, a check or a review may move, and a work item be deleted, and nobody
    tells of it, or in vain. Done ones too while something is still to be written that was not refused. And posted
    ones that nobody has looked at: whoever posted one may have been told that it failed when it was there.
    """
    is_left = tasks.c.id.in_(_LEFT.where(effects.c.error == "")) & (tasks.c.stage == Stage.DONE)
    is_begun = tasks.c.stage.not_in((Stage.CREATED, Stage.DONE))
    is_unseen = tasks.c.role.is_not(None) & tasks.c.decided.is_(None) & (tasks.c.stage != Stage.DONE)
    query = select(tasks.c.id).where((is_begun | is_left) & tasks.c.role.is_(None) | is_unseen)
    return [TaskId(row.id) for row in connection.execute(query.order_by(tasks.c.id))]


def items_under_way(connection: Connection, project: ProjectId) -> dict[WorkItemId, TaskId]:
    """Those of them that carry a work item of the project."""
    return _by_item(connection, _carrying(project).where(tasks.c.stage.not_in((Stage.CREATED, Stage.DONE))))


def items_not_begun(connection: Connection, project: ProjectId) -> dict[WorkItemId, TaskId]:
    """The newest of those that wait for their trigger, say."""
    newest = _carrying(project).where(tasks.c.stage == Stage.CREATED).order_by(tasks.c.id.desc())
    return _by_item(connection, newest.limit(MOST_NOT_BEGUN))


def _carrying(project: ProjectId) -> Select[tuple[int, str]]:
    is_its = (tasks.c.plane_project_id == project, tasks.c.plane_id.is_not(None))
    return select(tasks.c.id, tasks.c.plane_id).where(*is_its)


def _by_item(connection: Connection, query: Select[tuple[int, str]]) -> dict[WorkItemId, TaskId]:
    return {WorkItemId(row.plane_id): TaskId(row.id) for row in connection.execute(query)}


def is_begun(connection: Connection, item: WorkItemId) -> bool:
    """Its task is there and has left the first stage, so it has a branch."""
    query = select(tasks.c.id).where(tasks.c.plane_id == item, tasks.c.stage != Stage.CREATED)
    return connection.execute(query).first() is not None


def open_ids(connection: Connection) -> list[TaskId]:
    """Those that are not done, or for which something is still to be written."""
    query = select(tasks.c.id).where((tasks.c.stage != Stage.DONE) | tasks.c.id.in_(_LEFT))
    return [TaskId(row.id) for row in connection.execute(query)]


# Every delivery asks one of these, so they are the driver's own texts, as the journal's are. CROSS JOIN says which
# side is looked up in which.
_BY_ITEM = "SELECT plane_id, id FROM tasks WHERE plane_id IN (SELECT value FROM json_each(?))"
_BY_BRANCH = (
    "SELECT json_extract(wanted.value, '$[0]'), branch, tasks.id FROM json_each(?) AS wanted "
    "CROSS JOIN tasks ON branch = json_extract(wanted.value, '$[1]') "
    "AND tasks.repo = json_extract(wanted.value, '$[0]') COLLATE NOCASE"
)
_BY_HEAD = (
    "SELECT json_extract(wanted.value, '$[0]'), head_sha, tasks.id, "
    "stage IN ('ci', 'review', 'testing', 'ready') AS is_resting "
    "FROM json_each(?) AS wanted "
    "CROSS JOIN tasks ON head_sha = json_extract(wanted.value, '$[1]') "
    "AND tasks.repo = json_extract(wanted.value, '$[0]') COLLATE NOCASE "
    "ORDER BY is_resting DESC, tasks.id DESC"
)


def ids_by_item(connection: Connection, items: Collection[str]) -> dict[str, TaskId]:
    return {item: TaskId(task) for item, task in _look_up(connection, _BY_ITEM, items)}


def ids_by_branch(connection: Connection, branches: Collection[tuple[str, str]]) -> dict[tuple[str, str], TaskId]:
    """Of repository and branch as the forge names them: capitals in the former do not matter to it."""
    found = _look_up(connection, _BY_BRANCH, branches)
    return {(repo, branch): TaskId(task) for repo, branch, task in found}


def ids_by_head(
    connection: Connection, heads: Collection[tuple[str, str]]
) -> dict[tuple[str, str], tuple[TaskId, ...]]:
    """Of repository, as above, and commit: all that rest on its checks, since two branches may have one head.
    Where none does, the newest that has it.
    """
    found: dict[tuple[str, str], tuple[TaskId, ...]] = {}
    for repo, head, task, is_resting in _look_up(connection, _BY_HEAD, heads):
        known = found.get((repo, head), ())
        if is_resting or not known:
            found[repo, head] = (*known, TaskId(task))
    return found


def _look_up(connection: Connection, query: str, keys: Collection[object]) -> Iterable[tuple[Any, ...]]:
    return say(connection, query, (msgspec.json.encode(list(keys)).decode(),)) if keys else ()


def waiting_text(waiting: Sequence[Item]) -> str:
    return msgspec.json.encode(waiting).decode()


def waiting_items(text: str) -> tuple[Item, ...]:
    return msgspec.json.decode(text, type=tuple[Item, ...])


def _task(row: Row[tuple[object, ...]]) -> Task:
    return Task(
        id=TaskId(row.id),
        stage=Stage(row.stage),
        plane_id=WorkItemId(row.plane_id) if row.plane_id else None,
        project=ProjectId(row.plane_project_id) if row.plane_project_id else None,
        key=row.key or "",
        title=row.title,
        repo=RepoName.parse(row.repo) if row.repo else None,
        branch=row.branch,
        base_branch=row.base_branch,
        brief=row.brief,
        seen_created=row.seen_created,
        role=Role(row.role) if row.role else None,
        retry_after=row.retry_after,
        switches=switches_of(row.switches),
        returns=returns_of(row.returns),
    )


_REMEMBERED = (Switches, Return, Feedback)


def switches_of(text: str | None) -> Switches:
    """From the column; nothing is set when nothing was decided yet."""
    return canonical.decode(text, _REMEMBERED) if text else NO_SWITCHES


def returns_of(text: str | None) -> tuple[Return, ...]:
    """From the column; nothing when nothing was decided yet."""
    found: tuple[Return, ...] = canonical.decode(text, _REMEMBERED) if text else ()
    return found
