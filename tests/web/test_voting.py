"""Approving from our own pages: who may, about which documents, and what the gates make of it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from conftest import FakeClock
from doors import identity
from green import ANNA, BORIS, BRD, GREEN, NOW, PROJECT, TASK
from orchestrator.db import Database
from orchestrator.domain.model import Person, RepoName, RunId, Stage, Switches, Task, TaskId, UserId
from orchestrator.domain.roles import Role
from orchestrator.domain.tracker import Comment, CommentId
from orchestrator.qg import documents
from orchestrator.qg.facts import Facts
from orchestrator.qg.verdict import Passed, Waiting
from orchestrator.reconcile.basis import remarks_of
from orchestrator.reconcile.dispatch import Dispatch
from orchestrator.reconcile.observe import Observed
from orchestrator.reconcile.papers import Papers
from orchestrator.store import canonical, decisions, sightings, tasks
from orchestrator.store.schema import events
from orchestrator.store.schema import tasks as task_table
from orchestrator.store.tasks import Posted
from orchestrator.web import voting
from orchestrator.web.api import problems, reading
from orchestrator.web.caller import KEY, Caller, Scope
from orchestrator.web.live import Changes
from orchestrator.web.services import Services
from orchestrator.workflow.admission import AdmissionLimits

ANALYSIS = replace(TASK, stage=Stage.ANALYSIS)
SIGHT = replace(BRD, seen=0)
"""The journal of a test begins at 1."""
ASKED = replace(GREEN, documents=(SIGHT,), remarks=())
DIGEST = documents.digest(ASKED, Stage.ANALYSIS)
VOTE = {"gate": "QG-1", "digest": DIGEST}
NAMELESS = Person(UserId("u-nameless"), approver=True)
"""An approver who has no login in Gitea: nobody who has none is taken for them."""
Ask = Callable[..., Any]


class Wakes:
    """An engine that only notes whom it was to wake."""

    def __init__(self) -> None:
        self.woken: list[TaskId] = []

    def wake(self, task: TaskId, after_s: float = 0.0, *, is_background: bool = False) -> None:
        del after_s, is_background
        self.woken.append(task)

    def start_run(self, run: RunId) -> None: ...

    def admit(self) -> None: ...

    async def cancel_run(self, run: RunId) -> None: ...


@pytest.fixture
def engine() -> Wakes:
    return Wakes()


@pytest.fixture
async def task(database: Database) -> Task:
    """It waits at QG-1 for somebody to read the BRD."""
    posted = Posted(Role.ANALYST, RepoName("acme", "enduro-trails"), "Title", "Text", "main")
    made: Task = await database.write(lambda connection: tasks.post(connection, posted, NOW))
    await database.write(
        lambda connection: connection.execute(
            task_table.update().values(stage="analysis", key=TASK.key, role=None)
        )
    )
    await seen(database, made.id, ASKED)
    return replace(ANALYSIS, id=made.id)


async def seen(database: Database, task: TaskId, facts: Facts) -> None:
    await database.write(lambda connection: decisions.observe(connection, task, canonical.encode(facts), NOW))


@pytest.fixture
def ask(database: Database, clock: FakeClock, engine: Wakes, task: Task) -> Ask:
    """`await ask("approve", login, vote)`: the real endpoints, by HTTP, as somebody whom Access let through."""
    app = FastAPI()
    problems.add(app)
    people = (Person(ANNA, "Anna", approver=True), Person(BORIS, "boris"), NAMELESS)
    dispatch = Dispatch(database, clock, AdmissionLimits(), 300.0)
    services = Services(
        database=database,
        clock=clock,
        engine=lambda: engine,
        projects=lambda: (PROJECT,),
        project_of_repo=lambda _: PROJECT,
        people=people,
        known=list,
        look=_nothing,
        dispatch=dispatch,
        item_address=str,
        forge_address="",
        papers=Papers(None, lambda _: PROJECT, _no_blob),
        changes=Changes(database.version),
        identity=identity(database, clock, []),
        gitea_sign_in=None,
    )
    app.state.services = services
    app.include_router(voting.router)
    app.include_router(reading.router)

    async def call(word: str, login: str, vote: object, key: str = TASK.key) -> httpx.Response:
        async def known(scope: Any, receive: Any, send: Any) -> None:
            await app({**scope, KEY: Caller(login or "a token", Scope.ADMIN, login)}, receive, send)

        transport = httpx.ASGITransport(known)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            if word == "read":
                return await client.get(f"/api/v1/tasks/{key}")
            return await client.post(f"/api/v1/tasks/{key}/{word}", json=vote)

    return call


async def _nothing() -> list[Any]:
    return []


async def _no_blob(_repo: RepoName, _name: str, _max_bytes: int) -> bytes | None:
    return None


async def heard(database: Database, task: Task) -> Facts:
    """The facts of the next look, in which nothing else has changed."""
    known = await database.read(lambda connection: sightings.of_task(connection, task.id))
    return replace(ASKED, remarks=tuple(known.remarks))


async def journaled(database: Database) -> int:
    rows = await database.read(lambda connection: connection.execute(events.select()).all())
    return sum(row.event_type == "remark" for row in rows)


# --- what counts


async def test_an_approvers_word_is_journaled_wakes_the_task_and_opens_the_gate(
    ask: Ask, database: Database, engine: Wakes, task: Task
) -> None:
    assert isinstance(documents.brd(PROJECT, task, await heard(database, task)), Waiting)
    answer = await ask("approve", "anna", VOTE)  # Gitea does not tell logins apart by case
    assert answer.status_code == 202
    facts = await heard(database, task)
    [remark] = facts.remarks if isinstance(facts.remarks, tuple) else ()
    assert (remark.person, remark.order, remark.lines) == (ANNA, answer.json()["event"], (":approved:",))
    assert isinstance(documents.brd(PROJECT, task, facts), Passed)
    assert engine.woken == [task.id]


async def test_a_word_is_about_what_was_on_the_screen_whatever_else_is_asked_when_it_is_heard(
    ask: Ask, database: Database, task: Task
) -> None:
    """The BRD had just been approved in Plane: nobody was asked about the architecture by this page."""
    assert (await ask("approve", "anna", VOTE)).status_code == 202
    known = await database.read(lambda connection: sightings.of_task(connection, task.id))
    early = replace(GREEN.documents[1], seen=0), replace(GREEN.documents[2], seen=0)  # type: ignore[index]  # a tuple here
    facts = replace(ASKED, documents=(SIGHT, *early), remarks=tuple(known.remarks))
    design = documents.digest(facts, Stage.ARCHITECTURE)
    asked = replace(task, switches=Switches(design_asked=design))
    assert [one.about for one in known.remarks] == [DIGEST]
    assert isinstance(documents.brd(PROJECT, asked, facts), Passed)
    assert isinstance(documents.design(PROJECT, asked, facts), Waiting)


async def test_a_rejection_has_its_reason_with_all_its_lines(ask: Ask, database: Database, task: Task) -> None:
    answer = await ask("reject", "Anna", {**VOTE, "why": "  Who may see it?\nAnd for how long?  "})
    assert answer.status_code == 202
    facts = await heard(database, task)
    rejection = documents.votes(PROJECT, task, facts).analysis.rejection
    assert rejection is not None
    assert rejection.rejection == "Who may see it?\nAnd for how long?"


async def test_the_same_click_twice_is_one_remark_and_another_word_another(
    ask: Ask, database: Database, task: Task
) -> None:
    first, second = await ask("approve", "Anna", VOTE), await ask("approve", "Anna", VOTE)
    assert first.json() == second.json()
    assert await journaled(database) == 1
    await ask("reject", "Anna", {**VOTE, "why": "No."})
    await ask("approve", "Anna", VOTE)
    assert await journaled(database) == 3


async def test_the_same_word_about_other_documents_is_another_remark(
    ask: Ask, database: Database, task: Task
) -> None:
    """All documents lay there when the BRD was edited last: both clicks come after each of them."""
    early = replace(GREEN.documents[1], seen=0), replace(GREEN.documents[2], seen=0)  # type: ignore[index]  # a tuple here
    await seen(database, task.id, replace(ASKED, documents=(SIGHT, *early)))
    assert (await ask("approve", "anna", VOTE)).status_code == 202
    both = replace(ASKED, documents=(SIGHT, *early))
    await database.write(lambda connection: connection.execute(task_table.update().values(stage="architecture")))
    of_design = {"gate": "QG-2", "digest": documents.digest(both, Stage.ARCHITECTURE)}
    assert (await ask("approve", "anna", of_design)).status_code == 202
    known = await database.read(lambda connection: sightings.of_task(connection, task.id))
    assert [one.about for one in known.remarks] == [DIGEST, of_design["digest"]]


async def test_the_same_word_is_another_remark_when_something_was_said_in_plane_meanwhile(
    ask: Ask, database: Database, task: Task
) -> None:
    """She took her approval back there, and gives it again here: her last word counts."""
    no = Comment(CommentId("k-no"), ANNA, False, (":rejected: wait",), "d", "", NOW)
    assert (await ask("approve", "anna", VOTE)).status_code == 202
    await database.write(lambda connection: sightings.record(connection, task.id, (no,), (), NOW))
    assert (await ask("approve", "anna", VOTE)).status_code == 202
    known = await database.read(lambda connection: sightings.of_task(connection, task.id))
    remarks = remarks_of(PROJECT, replace(Observed(), comments=(no,)), known)
    assert isinstance(documents.brd(PROJECT, task, replace(ASKED, remarks=remarks)), Passed)


async def test_the_task_tells_what_is_asked_and_that_is_what_goes_with_the_word(ask: Ask) -> None:
    asked = (await ask("read", "anna", None)).json()["asked"]
    assert asked == {**VOTE, "documents": ["brd"]}
    assert (await ask("approve", "anna", {"gate": asked["gate"], "digest": asked["digest"]})).status_code == 202


async def test_nothing_is_asked_where_no_document_is(ask: Ask, database: Database, task: Task) -> None:
    await seen(database, task.id, replace(ASKED, documents=()))
    assert (await ask("read", "anna", None)).json()["asked"] is None


# --- what does not


REFUSED = {
    "a token is nobody": ("approve", "", VOTE, 403, "not_a_person"),
    "a person who is no approver": ("approve", "boris", VOTE, 403, "not_an_approver"),
    "a stranger": ("approve", "mallory", VOTE, 403, "not_an_approver"),
    "a look-alike": ("approve", "аnna", VOTE, 403, "not_an_approver"),
    "another gate": ("approve", "anna", {**VOTE, "gate": "QG-2"}, 409, "nothing_to_approve"),
    "other documents": ("approve", "anna", {**VOTE, "digest": "0" * 64}, 409, "document_changed"),
    "no digest": ("approve", "anna", {**VOTE, "digest": ""}, 409, "document_changed"),
    "a rejection without a reason": ("reject", "anna", {**VOTE, "why": " \n\t"}, 422, "no_reason"),
    "a rejection by nobody": ("reject", "", {**VOTE, "why": "No."}, 403, "not_a_person"),
}


@pytest.mark.parametrize(("word", "login", "vote", "status", "code"), REFUSED.values(), ids=REFUSED)
async def test_it_is_refused_with_the_reason_and_nothing_is_journaled(
    ask: Ask, database: Database, engine: Wakes, *, word: str, login: str, vote: object, status: int, code: str
) -> None:
    answer = await ask(word, login, vote)
    assert (answer.status_code, answer.json()["title"]) == (status, code)
    assert await journaled(database) == 0
    assert engine.woken == []


async def test_a_task_that_is_not_there_is_404(ask: Ask) -> None:
    assert (await ask("approve", "anna", VOTE, key="NOPE-1")).status_code == 404


async def test_documents_that_moved_after_they_were_opened_are_not_approved(
    ask: Ask, database: Database, task: Task
) -> None:
    await seen(database, task.id, replace(ASKED, documents=(replace(SIGHT, blob="b2"),)))
    assert (await ask("approve", "anna", VOTE)).json()["title"] == "document_changed"


async def test_nobody_is_asked_while_a_document_is_missing(ask: Ask, database: Database, task: Task) -> None:
    await seen(database, task.id, replace(ASKED, documents=()))
    assert (await ask("approve", "anna", VOTE)).json()["title"] == "nothing_to_approve"


async def test_who_left_the_list_after_the_word_does_not_count(ask: Ask, database: Database, task: Task) -> None:
    assert (await ask("approve", "anna", VOTE)).status_code == 202
    without = replace(PROJECT, approvers=(BORIS,))
    assert isinstance(documents.brd(without, task, await heard(database, task)), Waiting)
