"""Since when we follow a project, and up to when we have seen its changes."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from orchestrator.domain.model import ProjectId
from orchestrator.store.schema import watermarks


@dataclass(frozen=True, slots=True)
class Watermark:
    """Items created before `since` are not new to us; changes up to `seen_until` are known."""

    since: datetime
    seen_until: datetime


def ensure(connection: Connection, project: ProjectId, now: datetime) -> Watermark:
    """The project's watermark; set to now when the project is seen for the first time."""
    row = {"project_id": project, "since": now, "seen_until": now}
    connection.execute(upsert(watermarks).values(row).on_conflict_do_nothing())
    found = connection.execute(select(watermarks).where(watermarks.c.project_id == project)).one()
    return Watermark(found.since, found.seen_until)


def advance(connection: Connection, project: ProjectId, seen_until: datetime) -> None:
    behind = (watermarks.c.project_id == project, watermarks.c.seen_until < seen_until)
    connection.execute(update(watermarks).where(*behind).values(seen_until=seen_until))
