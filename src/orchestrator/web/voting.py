"""Approving and rejecting documents outside Plane: a signed-in approver's word is as good as a comment."""

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from sqlalchemy import Connection

from orchestrator.domain.errors import Rejected
from orchestrator.domain.model import Person, Task
from orchestrator.qg.commands import MAX_TEXT
from orchestrator.qg.facts import Remark
from orchestrator.store import remarks
from orchestrator.store import tasks as task_rows
from orchestrator.store.remarks import Asked, Said
from orchestrator.web.acting import Absent
from orchestrator.web.api.paging import Key
from orchestrator.web.api.problems import EVERYWHERE, responses
from orchestrator.web.caller import caller
from orchestrator.web.services import Given, Services

router = APIRouter(responses=EVERYWHERE)
APPROVED = (":approved:",)


class Vote(BaseModel):
    """What the person saw: GET the task's `asked` for both."""

    gate: str = Field(max_length=10, examples=["QG-1"])
    digest: str = Field(max_length=64, description="of the documents that were read; another one is refused")


class Objection(Vote):
    """The reason goes to the agent that wrote the documents."""

    why: str = Field(min_length=1, max_length=MAX_TEXT, examples=["Say who may see a track."])


class Heard(BaseModel):
    """The remark's number in the journal."""

    event: int


@router.post(
    "/api/v1/tasks/{key}/approve",
    status_code=202,
    tags=["tasks"],
    summary="Approve the documents that are asked about",
    responses=responses(400, 404, 409),
)
async def approve_documents(services: Given, key: Key, vote: Vote, request: Request) -> Heard:
    """As `:approved:` in a comment of the work item; for a signed-in person on the list of approvers."""
    login = caller(request.scope).login
    return Heard(event=(await approve(services, key, login, vote.gate, vote.digest)).order)


@router.post(
    "/api/v1/tasks/{key}/reject",
    status_code=202,
    tags=["tasks"],
    summary="Reject the documents that are asked about",
    responses=responses(400, 404, 409),
)
async def reject_documents(services: Given, key: Key, vote: Objection, request: Request) -> Heard:
    """As `:rejected: why` in a comment of the work item; for a signed-in person on the list of approvers."""
    login = caller(request.scope).login
    return Heard(event=(await reject(services, key, login, vote.gate, vote.digest, vote.why)).order)


async def approve(services: Services, key: str, login: str, gate: str, digest: str) -> Remark:
    """Rejected: 403 for somebody who is no approver, 409 when the documents are not those that were read."""
    return await _say(services, key, login, Vote(gate=gate, digest=digest), APPROVED)


async def reject(services: Services, key: str, login: str, gate: str, digest: str, why: str) -> Remark:
    """As `approve`; 422 without a reason."""
    first, *below = [line.rstrip() for line in why.strip()[:MAX_TEXT].splitlines()] or [""]
    if not first:
        raise Rejected("no_reason", "Say why: the agent gets the reason and mends the documents.", status=422)
    return await _say(services, key, login, Vote(gate=gate, digest=digest), (f":rejected: {first}", *below))


def approver(services: Services, login: str) -> Person | None:
    """The person with this login in Gitea, when they are on the list. Gitea does not tell logins apart by case."""
    if not login:
        return None
    them = (one for one in services.people if one.gitea_login.casefold() == login.casefold())
    return next((one for one in them if one.approver), None)


async def _say(services: Services, key: str, login: str, vote: Vote, lines: tuple[str, ...]) -> Remark:
    said, now = Said(_allowed(services, login).plane_user, login, lines), services.clock.now()

    def commit(connection: Connection) -> tuple[Task, Remark]:
        task = task_rows.by_key(connection, key)
        if task is None:
            raise Absent("task", key)
        about = _about(remarks.asked(connection, task.id, task.stage), vote, task)
        return task, remarks.record(connection, task.id, about, said, now)

    task, remark = await services.database.write(commit)
    services.engine().wake(task.id)
    return remark


def _allowed(services: Services, login: str) -> Person:
    person = approver(services, login)
    if person is not None:
        return person
    if not login:
        raise Rejected(
            "not_a_person",
            "Documents are approved by people, and this token speaks for nobody.",
            status=403,
            hint="Sign in with Gitea, or comment `:approved:` on the work item in Plane, or send a token of your "
            "own: `orch token create NAME --as LOGIN` makes one.",
        )
    raise Rejected(
        "not_an_approver",
        f"{login[:60]} is not on the list of approvers.",
        status=403,
        hint="Set `approver: true` for them in orchestrator.yaml, and restart.",
    )


def _about(now_asked: Asked | None, vote: Vote, task: Task) -> Asked:
    """What was read has to be what is asked about: otherwise somebody would approve what they never saw."""
    if now_asked is None or now_asked.gate != vote.gate:
        raise Rejected(
            "nothing_to_approve",
            f"Nobody is asked about {vote.gate} of {task.key} now; it stands at {task.stage}.",
            status=409,
            hint="Open the task again to see what is asked.",
        )
    if now_asked.digest != vote.digest:
        raise Rejected(
            "document_changed",
            "The documents have changed since you opened them.",
            status=409,
            hint="Read them again, then decide.",
        )
    return now_asked
