"""Since when we follow a project, and up to when we have seen its changes."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from orchestrator.domain.model import ProjectId
from orchestrator.store.schema import watermarks

ROOM = timedelta(hours=1)
"""So far the tracker's clock may be behind ours: changes have its stamps."""


@dataclass(frozen=True, slots=True)
class Watermark:
    """Items created before `since`, by our clock, are not new to us; changes up to `seen_until`, by the tracker's,
    are known. `is_new`: it was made just now, and no change has been seen.
    """

    since: datetime
    seen_until: datetime
    is_new: bool = False


def ensure(connection: Connection, project: ProjectId, now: datetime) -> Watermark:
    """The project's watermark; it begins now when the project is seen for the first time."""
    row = {"project_id": project, "since": now, "seen_until": now - ROOM}
    made = connection.execute(upsert(watermarks).values(row).on_conflict_do_nothing())
    found = connection.execute(select(watermarks).where(watermarks.c.project_id == project)).one()
    return Watermark(found.since, found.seen_until, is_new=made.rowcount > 0)


def advance(connection: Connection, project: ProjectId, seen_until: datetime) -> None:
    behind = (watermarks.c.project_id == project, watermarks.c.seen_until < seen_until)
    connection.execute(update(watermarks).where(*behind).values(seen_until=seen_until))
