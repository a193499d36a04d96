"""Tokens: the setting's, and the named ones, of which the database has the digests."""

import asyncio
import hashlib
import hmac
import secrets
from collections.abc import Iterable, Sequence

from orchestrator.db import Database
from orchestrator.ports import Clock
from orchestrator.store import tokens as rows
from orchestrator.store.tokens import Token, Use
from orchestrator.web.caller import Caller, Scope
from orchestrator.web.signin.people import People
from orchestrator.web.signin.sessions import By, Sessions

PREFIX = "orch_"
"""So that a token is known for one where it should not be: in a log, in a commit."""
SCOPES = {"read": Scope.READ, "operate": Scope.OPERATE, "admin": Scope.ADMIN}


def new() -> str:
    """256 bits of chance; to try them one by one is hopeless, so a plain digest of it is safe to keep."""
    return PREFIX + secrets.token_urlsafe(32)


def digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


class Tokens:
    """Looks into the database each time: what is revoked is refused from the next request on. One that speaks for
    a person may at most what `people` let that person do, and nothing once they are gone from there.
    """

    def __init__(
        self, of_setting: Iterable[str], database: Database, clock: Clock, sessions: Sessions, people: People
    ) -> None:
        self._of_setting: Sequence[bytes] = [one.encode() for one in of_setting if one]
        self._database = database
        self._clock = clock
        self._sessions = sessions
        self._people = people

    @property
    def has_setting(self) -> bool:
        return bool(self._of_setting)

    def known(self, given: bytes) -> tuple[Caller, By, str] | None:
        """Who has this token, and what a session by it would rest on."""
        # Every token is compared, in constant time and as bytes: a str with odd characters would raise.
        matches = [hmac.compare_digest(given, one) for one in self._of_setting]
        if any(matches):
            return _OF_SETTING, By.SETTING, self._mark(given)
        if not given.startswith(PREFIX.encode()):
            return None
        sha256 = digest(given.decode("latin-1"))
        found = self._database.read_now(lambda connection: rows.by_digest(connection, sha256))
        caller = self._caller(found) if found else None
        return (caller, By.TOKEN, str(found.id)) if found and caller else None

    def by_number(self, number: str) -> Caller | None:
        """Of a session by a named token, as long as that is in force."""
        if not (number.isascii() and number.isdigit()):
            return None
        found = self._database.read_now(lambda connection: rows.by_id(connection, int(number)))
        return self._caller(found) if found else None

    def by_mark(self, given: str) -> Caller | None:
        """Of a session by the setting's token, as long as the setting has it."""
        marks = [hmac.compare_digest(given.encode(), self._mark(one).encode()) for one in self._of_setting]
        return _OF_SETTING if any(marks) else None

    def is_ended(self, session: str) -> bool:
        return self._database.read_now(lambda connection: rows.is_ended(connection, session))

    def _mark(self, token: bytes) -> str:
        """Tells the setting's tokens apart. Keyed: people choose these, so they could be guessed from a digest."""
        return self._sessions.derived("token", token.decode("latin-1"))

    def _caller(self, token: Token) -> Caller | None:
        """None for a token of somebody whom nobody lets in any more."""
        scope = SCOPES[token.scope]
        if token.login:
            scope = min(scope, self._people.scope(token.login))
        if not scope:
            return None
        self._note(token)
        return Caller(token.name, scope, token.login)

    def _note(self, token: Token) -> None:
        """The day, once, beside the request: nobody waits for it."""
        today = self._clock.now().date()
        if token.last_used_on is None or token.last_used_on < today:
            noted = self._database.write_bulk(rows.mark_used, Use(token.id, today))
            noted.add_done_callback(_look_away)


_OF_SETTING = Caller("ORCH_API_TOKEN", Scope.ADMIN)


def _look_away(noted: "asyncio.Future[None]") -> None:
    """A day that could not be noted is no reason to refuse anybody."""
    if not noted.cancelled():
        noted.exception()
