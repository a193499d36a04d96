"""What we saw for the first time, as events of the journal: their numbers say what came before what.

Of one look, comments are journaled before documents, though they were read after them, where there are documents.
So a comment with a higher number than a document was written when that document was there to be read.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import msgspec
from sqlalchemy import Connection, bindparam, insert, select

from orchestrator.domain.model import Source, TaskId
from orchestrator.domain.roles import DocumentName
from orchestrator.domain.tracker import Comment, CommentId
from orchestrator.qg.facts import Remark
from orchestrator.store import remarks
from orchestrator.store.prepared import Prepared, constant
from orchestrator.store.schema import events

COMMENT, DOCUMENT = remarks.COMMENT_SEEN, "document_seen"
MAX_CHANGES = 20
"""Of one comment. Whoever edits it for ever would make each look longer; it has counted for nothing long since."""


@dataclass(frozen=True, slots=True)
class First:
    """The first sight of a comment. `is_same`: every later sight had the digest of the first. `last` is the newest
    sight that had another, `changes` how many had; of those the first MAX_CHANGES are journaled.
    """

    order: int
    digest: str
    is_same: bool = True
    last: int = 0
    changes: int = 0


@dataclass(slots=True)
class Sightings:
    """Of one task. A document that is not there has the blob "". `remarks` were made on our own pages: they stand
    in the journal themselves, so their numbers need no sight.
    """

    comments: dict[CommentId, First] = field(default_factory=dict)
    documents: dict[DocumentName, tuple[str, int]] = field(default_factory=dict)
    digests: set[tuple[CommentId, str]] = field(default_factory=set)
    remarks: list[Remark] = field(default_factory=list)


class _Seen(msgspec.Struct):
    """An event's payload. `after` is the number of the sight before, so that no two payloads are alike."""

    what: str
    digest: str
    task: int
    after: int


_SOURCES = [constant(one) for one in (Source.ORCHESTRATOR, Source.OPERATOR)]
_KINDS = [constant(one) for one in (COMMENT, DOCUMENT, remarks.REMARK)]
_OF_TASK = Prepared(
    select(events.c.id, events.c.event_type, events.c.payload)
    .where(events.c.task_id == bindparam("task"), events.c.source.in_(_SOURCES), events.c.event_type.in_(_KINDS))
    .order_by(events.c.id)
)


def of_task(connection: Connection, task: TaskId) -> Sightings:
    found = Sightings()
    for row in _OF_TASK.rows(connection, {"task": task}):
        if row.event_type == remarks.REMARK:
            found.remarks.append(remarks.decoded(row.id, row.payload))
        else:
            _add(found, row.id, row.event_type, msgspec.json.decode(row.payload, type=_Seen))
    return found


def unseen(
    known: Sightings, comments: Sequence[Comment], documents: Mapping[DocumentName, str]
) -> tuple[list[Comment], list[tuple[DocumentName, str]]]:
    """What is to be journaled: comments (oldest first) and documents that are new or changed."""
    new = [one for one in reversed(comments) if _is_news(known, one)]
    moved = [(name, blob) for name, blob in documents.items() if known.documents.get(name, ("", 0))[0] != blob]
    return new, moved


def _is_news(known: Sightings, comment: Comment) -> bool:
    first = known.comments.get(comment.id)
    is_told = first is not None and first.changes >= MAX_CHANGES
    return not is_told and (comment.id, comment.digest) not in known.digests


def record(
    connection: Connection,
    task: TaskId,
    comments: Iterable[Comment],
    documents: Iterable[tuple[DocumentName, str]],
    now: datetime,
) -> Sightings:
    """Journals them, and returns all of the task."""
    known = of_task(connection, task)
    last = max((first.order for first in known.comments.values()), default=0)
    for comment in comments:
        last = _insert(connection, known, COMMENT, _Seen(comment.id, comment.digest, task, last), now)
    for name, blob in documents:
        _insert(connection, known, DOCUMENT, _Seen(name, blob, task, known.documents.get(name, ("", 0))[1]), now)
    return known


def _insert(connection: Connection, known: Sightings, kind: str, seen: _Seen, now: datetime) -> int:
    payload = msgspec.json.encode([kind, seen]).decode()
    row = {
        "timestamp": now,
        "source": Source.ORCHESTRATOR,
        "event_type": kind,
        "payload": msgspec.json.encode(seen).decode(),
        "processed": 1,
        "body_sha256": hashlib.sha256(payload.encode()).hexdigest(),
        "task_id": seen.task,
    }
    ident: int = connection.execute(insert(events).values(row).returning(events.c.id)).scalar_one()
    _add(known, ident, kind, seen)
    return ident


def _add(known: Sightings, ident: int, kind: str, seen: _Seen) -> None:
    if kind == DOCUMENT:
        known.documents[DocumentName(seen.what)] = (seen.digest, ident)
        return
    comment = CommentId(seen.what)
    known.digests.add((comment, seen.digest))
    first = known.comments.setdefault(comment, First(ident, seen.digest))
    if first.digest != seen.digest:
        known.comments[comment] = First(
            first.order, first.digest, is_same=False, last=ident, changes=first.changes + 1
        )
