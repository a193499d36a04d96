"""Named tokens of the API, as digests, and sessions that were ended. Nothing here can be used to sign in."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy import Connection, Row, bindparam, delete, insert, select, update
from sqlalchemy.dialects.sqlite import insert as insert_or

from orchestrator.store.schema import ended_sessions
from orchestrator.store.schema import tokens as table


@dataclass(frozen=True, slots=True)
class Token:
    """`scope` is read, operate or admin. `login` is that of the person it speaks for, empty for nobody."""

    id: int
    name: str
    scope: str
    created_at: datetime
    last_used_on: date | None
    revoked_at: datetime | None
    login: str = ""


@dataclass(frozen=True, slots=True)
class Use:
    """A token was used on this day."""

    token: int
    day: date


def create(connection: Connection, name: str, scope: str, sha256: str, now: datetime, login: str = "") -> bool:
    """False when a token of this name is in force already."""
    if connection.execute(_OF_NAME, {"called": name}).first():
        return False
    row = {"name": name, "scope": scope, "sha256": sha256, "created_at": now, "login": login}
    connection.execute(insert(table).values(row))
    return True


def revoke(connection: Connection, name: str, now: datetime) -> bool:
    """False when no token of this name is in force."""
    revoked = update(table).where(table.c.name == name, table.c.revoked_at.is_(None)).values(revoked_at=now)
    return connection.execute(revoked).rowcount > 0


def listed(connection: Connection) -> list[Token]:
    """Those in force first, then by name; the revoked ones too."""
    rows = connection.execute(_ALL.order_by(table.c.revoked_at.is_not(None), table.c.name, table.c.id))
    return [_token(row) for row in rows]


def by_digest(connection: Connection, sha256: str) -> Token | None:
    """The token in force that has this digest."""
    row = connection.execute(_BY_DIGEST, {"digest": sha256}).first()
    return _token(row) if row else None


def by_id(connection: Connection, ident: int) -> Token | None:
    """The token with this number, when it is in force."""
    row = connection.execute(_BY_ID, {"ident": ident}).first()
    return _token(row) if row else None


def mark_used(connection: Connection, uses: Sequence[Use]) -> list[None]:
    """The newest day wins, in whatever order they come."""
    for one in set(uses):
        is_newer = table.c.last_used_on.is_(None) | (table.c.last_used_on < one.day)
        connection.execute(update(table).where(table.c.id == one.token, is_newer).values(last_used_on=one.day))
    return [None for _ in uses]


def end_session(connection: Connection, session: str, until: datetime, now: datetime) -> None:
    """Refused from here on. Rows of sessions that are over by themselves go."""
    connection.execute(delete(ended_sessions).where(ended_sessions.c.until < now))
    connection.execute(insert_or(ended_sessions).values(session=session, until=until).on_conflict_do_nothing())


def is_ended(connection: Connection, session: str) -> bool:
    return connection.execute(_ENDED, {"session": session}).first() is not None


_ALL = select(table)
_IN_FORCE = table.c.revoked_at.is_(None)
_OF_NAME = select(table.c.id).where(table.c.name == bindparam("called"), _IN_FORCE)
_BY_DIGEST = _ALL.where(table.c.sha256 == bindparam("digest"), _IN_FORCE)
_BY_ID = _ALL.where(table.c.id == bindparam("ident"), _IN_FORCE)
_ENDED = select(ended_sessions.c.until).where(ended_sessions.c.session == bindparam("session"))


def _token(row: Row[tuple[object, ...]]) -> Token:
    return Token(row.id, row.name, row.scope, row.created_at, row.last_used_on, row.revoked_at, row.login)
