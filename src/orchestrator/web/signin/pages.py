"""`/sign-in` and what belongs to it: a token pasted into a form, Gitea and back, and the way out."""

import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final
from urllib.parse import urlencode

import structlog
from fastapi import FastAPI, Request
from fastapi.responses import RedirectResponse, Response

from orchestrator.domain.errors import OrchestratorError
from orchestrator.store import tokens as rows
from orchestrator.web.caller import caller
from orchestrator.web.rendering import Rendering
from orchestrator.web.services import Services
from orchestrator.web.signin import form
from orchestrator.web.signin.attempts import Attempts
from orchestrator.web.signin.cookies import SESSION
from orchestrator.web.signin.gitea import GiteaSignIn
from orchestrator.web.signin.local import HOME, local
from orchestrator.web.signin.sessions import By

log = structlog.get_logger()
FORM_COOKIE: Final = "orch_form"
FLOW_COOKIE: Final = "orch_flow"
PLACE: Final = "/sign-in"
"""Below it browsers show the two cookies, and nowhere else."""
PATIENCE: Final = timedelta(minutes=10)
"""From the page to its form, and from Gitea back to us."""
MAX_TOKEN_CHARS: Final = 500


@dataclass(frozen=True, slots=True)
class Ticket:
    """What a browser keeps of a sign-in that is under way. `state` is its own, and good once."""

    state: str
    after: str


class SignInPages:
    """`gitea` is missing when people may not sign in there."""

    def __init__(self, services: Services, rendering: Rendering, gitea: GiteaSignIn | None) -> None:
        self._services = services
        self._rendering = rendering
        self._gitea = gitea
        self._identity = services.identity
        self._attempts = Attempts(services.clock)

    # -- the page and its form

    def show(self, request: Request, after: str, fault: str = "", status: int = 200) -> Response:
        """With the fault, when a try has just failed."""
        after, ticket = local(after), self._ticket(request, FORM_COOKIE)
        who = caller(request.scope)
        if who and not fault:
            return self._redirected(after)
        ticket = ticket or Ticket(secrets.token_urlsafe(24), after)
        page = self._rendering.page(
            _as_asked(request, after),
            "signin.html",
            status,
            csrf=self._csrf(ticket),
            after=after,
            fault=fault,
            has_gitea=self._gitea is not None,
        )
        self._keep(page, FORM_COOKIE, ticket)
        return page

    async def take_token(self, request: Request) -> Response:
        if wait_s := self._attempts.wait_s(request.scope):
            return self._too_often(request, wait_s)
        given = await form.fields(request.scope, request.receive)
        after, ticket = given.get("next", HOME), self._ticket(request, FORM_COOKIE)
        if ticket is None or not self._identity.sessions.is_csrf(_of(ticket), given.get(form.FIELD, "")):
            return self._refused(request, "stale", after, 403)
        token = given.get("token", "").strip()[:MAX_TOKEN_CHARS]
        known = self._identity.tokens.known(token.encode())
        if known is None:
            return self._refused(request, "bad_token", after, 403)
        who, by, of = known
        return await self._begun(request, by, of, who.name, after)

    # -- Gitea

    def leave_for_gitea(self, request: Request, after: str) -> Response:
        """A new state each time. What proves that who comes back is who left is in the cookie and in our key."""
        if self._gitea is None:
            return self._refused(request, "no_gitea", after, 404)
        ticket = Ticket(secrets.token_urlsafe(24), local(after))
        answer = RedirectResponse(self._gitea.address(ticket.state, self._verifier(ticket)), 303, _NO_STORE)
        self._keep(answer, FLOW_COOKIE, ticket)
        return answer

    async def come_back(self, request: Request, code: str, state: str, error: str) -> Response:
        if wait_s := self._attempts.wait_s(request.scope):
            return self._too_often(request, wait_s)
        answer = await self._judged(request, code, state, error)
        answer.headers.append("set-cookie", self._identity.cookies.removed(FLOW_COOKIE, path=PLACE))
        return answer

    async def _judged(self, request: Request, code: str, state: str, error: str) -> Response:
        ticket = self._ticket(request, FLOW_COOKIE)
        if self._gitea is None or ticket is None or not hmac.compare_digest(state.encode(), ticket.state.encode()):
            return self._refused(request, "stale", HOME, 403)
        if error or not code:
            return self._refused(request, "denied" if error == "access_denied" else "failed", ticket.after, 403)
        try:
            login = await self._gitea.login(code, self._verifier(ticket))
        except OrchestratorError as fault:
            log.warning("sign_in_failed", code=fault.code, message=fault.message, mend=fault.hint)
            return self._refused(request, "failed", ticket.after, 502)
        if not self._identity.people.scope(login):
            return self._refused(request, "not_listed", ticket.after, 403, login=login)
        return await self._begun(request, By.PERSON, login, login, ticket.after)

    # -- sessions

    async def _begun(self, request: Request, by: By, of: str, name: str, after: str) -> Response:
        """In the place of the session that the browser had."""
        identity = self._identity
        await self._end(request)
        answer = self._redirected(local(after))
        cookie = identity.cookies.written(
            SESSION, identity.sessions.sealed(identity.sessions.begin(by, of)), identity.sessions.lifetime_s
        )
        answer.headers.append("set-cookie", cookie)
        answer.headers.append("set-cookie", identity.cookies.removed(FORM_COOKIE, path=PLACE))
        log.info("signed_in", by=by.value, who=name)
        return answer

    async def sign_out(self, request: Request) -> Response:
        await self._end(request)
        answer = self._redirected(PLACE)
        answer.headers.append("set-cookie", self._identity.cookies.removed(SESSION))
        return answer

    async def _end(self, request: Request) -> None:
        """For ever: whoever has a copy of the cookie has nothing."""
        sessions = self._identity.sessions
        session = sessions.opened(self._identity.cookies.read(request.scope, SESSION))
        if session is not None:
            now = self._services.clock.now()
            ended = partial(rows.end_session, session=session.id, until=session.until, now=now)
            await self._services.database.write(ended)

    # -- small things

    def _redirected(self, path: str) -> Response:
        return RedirectResponse(self._rendering.url(path), 303, _NO_STORE)

    def _refused(self, request: Request, fault: str, after: str, status: int, **more: str) -> Response:
        log.warning("sign_in_refused", reason=fault, **more)
        return self.show(request, after, fault, status)

    def _too_often(self, request: Request, wait_s: int) -> Response:
        page = self._refused(request, "too_often", HOME, 429)
        page.headers["Retry-After"] = str(wait_s)
        return page

    def _csrf(self, ticket: Ticket) -> str:
        return self._identity.sessions.csrf(_of(ticket))

    def _verifier(self, ticket: Ticket) -> str:
        """PKCE's. Made of the state by our key, so the browser, which knows the state, never has it."""
        return self._identity.sessions.derived("verifier", ticket.state)

    def _keep(self, answer: Response, name: str, ticket: Ticket) -> None:
        until = int((self._services.clock.now() + PATIENCE).timestamp())
        sealed = self._identity.sessions.seal(name, {"state": ticket.state, "next": ticket.after, "until": until})
        max_age_s = int(PATIENCE.total_seconds())
        answer.headers.append("set-cookie", self._identity.cookies.written(name, sealed, max_age_s, path=PLACE))

    def _ticket(self, request: Request, name: str) -> Ticket | None:
        said = self._identity.sessions.unseal(name, self._identity.cookies.read(request.scope, name, path=PLACE))
        return _read(said, self._services.clock.now()) if isinstance(said, Mapping) else None


_NO_STORE: Final = {"Cache-Control": "no-store"}


def _as_asked(request: Request, after: str) -> Request:
    """The page links to itself, and Gitea's code, which is in the address that people come back by, is not to be
    in them.
    """
    query = urlencode({"next": after}).encode() if after != HOME else b""
    return Request({**request.scope, "path": PLACE, "query_string": query})


def _of(ticket: Ticket) -> str:
    return f"form of {ticket.state}"


def _read(said: Mapping[str, Any], now: datetime) -> Ticket | None:
    is_over = datetime.fromtimestamp(said["until"], UTC) <= now
    return None if is_over else Ticket(str(said["state"]), local(str(said["next"])))


def add(app: FastAPI, services: Services, rendering: Rendering) -> None:
    """None of it is for programs, so none is in the OpenAPI document."""
    pages = SignInPages(services, rendering, services.gitea_sign_in)

    @app.get("/sign-in", include_in_schema=False)
    async def show(request: Request) -> Response:
        return pages.show(request, request.query_params.get("next", HOME))

    @app.post("/sign-in", include_in_schema=False)
    async def take_token(request: Request) -> Response:
        return await pages.take_token(request)

    @app.get("/sign-in/gitea", include_in_schema=False)
    async def leave_for_gitea(request: Request) -> Response:
        return pages.leave_for_gitea(request, request.query_params.get("next", HOME))

    @app.get("/sign-in/callback", include_in_schema=False)
    async def come_back(request: Request) -> Response:
        given = request.query_params
        return await pages.come_back(
            request, given.get("code", ""), given.get("state", ""), given.get("error", "")
        )

    @app.post("/sign-out", include_in_schema=False)
    async def sign_out(request: Request) -> Response:
        return await pages.sign_out(request)
