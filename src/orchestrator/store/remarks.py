"""What a signed-in person says on our own pages: journaled as an event, and then as good as a comment in Plane."""

import hashlib
from dataclasses import dataclass
from datetime import datetime

import msgspec
from sqlalchemy import Connection, bindparam, insert, select

from orchestrator.domain.model import Source, Stage, TaskId, UserId
from orchestrator.domain.tracker import CommentId
from orchestrator.qg import documents
from orchestrator.qg.facts import Document, Facts, Remark
from orchestrator.store import decisions
from orchestrator.store.schema import events
from orchestrator.workflow.pipeline import step_of_stage

REMARK, COMMENT_SEEN = "remark", "comment_seen"


@dataclass(frozen=True, slots=True)
class Asked:
    """What a person may approve or reject now. `digest` is of the documents as we saw them last, and `seen`
    the journal's number of that sight.
    """

    gate: str
    digest: str
    seen: int
    documents: tuple[Document, ...]


class _Payload(msgspec.Struct):
    """An event's payload. `after` is the number of the sight that it is about or of what was said before, so that
    no two payloads are alike.
    """

    person: str
    login: str
    gate: str
    digest: str
    lines: tuple[str, ...]
    task: int
    after: int


@dataclass(frozen=True, slots=True)
class Said:
    """A person's words, a line each, as in a comment. `login` is who signed in, for the journal's readers."""

    person: UserId
    login: str
    lines: tuple[str, ...]


def asked(connection: Connection, task: TaskId, stage: Stage) -> Asked | None:
    """None where no person is asked: another stage, or a document that is not there."""
    facts = decisions.observed(connection, task)
    return asked_in(facts, stage) if facts and stage in documents.OF_STAGE else None


def asked_in(facts: Facts, stage: Stage) -> Asked | None:
    """As `asked`, of these facts."""
    found = documents.of_stage(facts, stage)
    if not found:
        return None
    seen = max(one.seen for one in found)
    return Asked(step_of_stage(stage).gate, documents.digest(facts, stage), seen, found)


def record(connection: Connection, task: TaskId, about: Asked, said: Said, now: datetime) -> Remark:
    """Journals it. The same words of the same person about the same documents are one remark, while nobody says
    anything else in between.
    """
    last = connection.execute(_NEWEST, {"task": task}).one_or_none()
    if last is not None and last.id > about.seen and last.event_type == REMARK:
        before = decoded(last.id, last.payload)
        if (before.person, before.lines, before.about) == (said.person, said.lines, about.digest):
            return before
    after = max(about.seen, last.id if last else 0)
    payload = _Payload(said.person, said.login, about.gate, about.digest, said.lines, task, after)
    return _insert(connection, payload, now)


def decoded(ident: int, payload: str) -> Remark:
    """The remark of an event's row. Nobody can change it, so it is untouched."""
    said = msgspec.json.decode(payload, type=_Payload)
    comment, person = CommentId(f"remark-{ident}"), UserId(said.person)
    return Remark(comment, person, ident, is_untouched=True, lines=said.lines, about=said.digest)


def _insert(connection: Connection, said: _Payload, now: datetime) -> Remark:
    payload = msgspec.json.encode(said)
    row = {
        "timestamp": now,
        "source": Source.OPERATOR,
        "event_type": REMARK,
        "payload": payload.decode(),
        "body_sha256": hashlib.sha256(payload).hexdigest(),
        "task_id": said.task,
    }
    ident: int = connection.execute(insert(events).values(row).returning(events.c.id)).scalar_one()
    return decoded(ident, payload.decode())


_NEWEST = (
    select(events.c.id, events.c.event_type, events.c.payload)
    .where(
        events.c.task_id == bindparam("task"),
        events.c.source.in_((Source.OPERATOR, Source.ORCHESTRATOR)),
        events.c.event_type.in_((REMARK, COMMENT_SEEN)),
    )
    .order_by(events.c.id.desc())
    .limit(1)
)
