"""Who a request is from: by its token, or by its session."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.web.caller import Caller, Scope
from orchestrator.web.signin.cookies import SESSION, Cookies
from orchestrator.web.signin.hosts import Hosts, values
from orchestrator.web.signin.people import People
from orchestrator.web.signin.sessions import By, Session, Sessions
from orchestrator.web.signin.tokens import Tokens


@dataclass(frozen=True, slots=True)
class Identity:
    """All that it takes to know somebody. `has_gitea` when people may sign in there."""

    tokens: Tokens
    people: People
    sessions: Sessions
    cookies: Cookies
    hosts: Hosts
    has_gitea: bool = False

    @property
    def is_configured(self) -> bool:
        """Whether there is any sign-in; without one this machine is let in as it is."""
        return self.has_gitea or self.tokens.has_setting

    def of_token(self, token: bytes) -> Caller | None:
        known = self.tokens.known(token)
        return known[0] if known else None

    def of_session(self, scope: Mapping[str, Any]) -> Caller | None:
        """Asked anew each time: who left `people`, or whose token was revoked, is out with the next request."""
        session = self.sessions.opened(self.cookies.read(scope, SESSION))
        if session is None or self.tokens.is_ended(session.id):
            return None
        found = self._still_known(session)
        return replace(found, csrf=self.sessions.csrf(session.id), session=session.id) if found else None

    def _still_known(self, session: Session) -> Caller | None:
        match session.by:
            case By.PERSON:
                scope = self.people.scope(session.of) if self.has_gitea else Scope.NONE
                return Caller(session.of, scope, session.of) if scope else None
            case By.TOKEN:
                return self.tokens.by_number(session.of)
            case By.SETTING:
                return self.tokens.by_mark(session.of)


def bearer(scope: Mapping[str, Any]) -> bytes | None:
    """The token of the request; None when it carries none. Another scheme may be the proxy's own sign-in."""
    for given in values(scope, b"authorization"):
        scheme, _, token = given.strip().partition(b" ")
        if scheme.lower() == b"bearer":
            return token.strip()
    return None
