"""Whether the neighbours still tell us what happens: their last deliveries, beside what we saw without them."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, func, select

from orchestrator.domain.model import Source
from orchestrator.store.schema import agent_runs, events, watermarks
from orchestrator.store.sightings import COMMENT, DOCUMENT

LOOK_BACK = 5000
"""Events that are looked at: a page must not read a million of them for one that never came."""

SILENT_AFTER = timedelta(minutes=10)
"""A change that is so much newer than the last delivery was told by nobody."""


@dataclass(frozen=True, slots=True)
class Pulse:
    """`told`: when a delivery of this source came last; `saw`: the newest change there that we know of."""

    source: Source
    told: datetime | None
    saw: datetime | None

    @property
    def is_silent(self) -> bool:
        """Something changed there, and no delivery came."""
        return self.saw is not None and (self.told is None or self.saw - self.told > SILENT_AFTER)


_NEWEST = select(events.c.id, events.c.source, events.c.event_type).order_by(events.c.id.desc()).limit(LOOK_BACK)


def pulses(connection: Connection) -> list[Pulse]:
    newest = _NEWEST.subquery()
    last = select(func.max(newest.c.id)).group_by(newest.c.source, newest.c.event_type)
    rows = connection.execute(
        select(events.c.source, events.c.event_type, events.c.timestamp).where(events.c.id.in_(last))
    ).all()

    def last_at(source: Source, kind: str | None = None) -> datetime | None:
        """Of one kind, or of any."""
        wanted = [one for one in rows if one.source == source and kind in {None, one.event_type}]
        return max((one.timestamp for one in wanted), default=None)

    known = connection.execute(select(func.max(watermarks.c.seen_until))).scalar()
    comment = last_at(Source.ORCHESTRATOR, COMMENT)
    return [
        Pulse(Source.PLANE, last_at(Source.PLANE), max((one for one in (known, comment) if one), default=None)),
        Pulse(Source.GITEA, last_at(Source.GITEA), last_at(Source.ORCHESTRATOR, DOCUMENT)),
    ]


def last_cli_version(connection: Connection) -> str:
    """Of the newest run that told one; empty when none of the last did."""
    told = select(agent_runs.c.cli_version).order_by(agent_runs.c.id.desc()).limit(50)
    return next((row.cli_version for row in connection.execute(told) if row.cli_version), "")
