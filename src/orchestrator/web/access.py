"""Who may ask what, judged before any framework sees the request. /health and the webhooks never come here.

One place for all routes: a new one is guarded without its doing. In this order: the host's name, the page that
asks, who it is, what they may, and, where a browser brings along who it is, the token that only our pages know.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from orchestrator.domain.errors import OrchestratorError
from orchestrator.loopback import is_direct, is_from_page
from orchestrator.web.bare import send_problem
from orchestrator.web.caller import NOBODY, THIS_MACHINE, Caller, Scope
from orchestrator.web.signin import form, local
from orchestrator.web.signin.hosts import values
from orchestrator.web.signin.identity import Identity, bearer

Request = Mapping[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})
OPEN: Final = frozenset({"/sign-in", "/sign-in/gitea", "/sign-in/callback", "/preferences"})
"""Paths that somebody needs to sign in at all; they hold nothing of tasks."""
STATIC: Final = "/static/"
NEEDS: Final = {"/sign-out": Scope.READ}
"""Changes that need less than OPERATE."""
ADMINS: Final = ("/tokens", "/actions/tokens", "/api/v1/tokens")
"""Where even reading needs ADMIN, and everything below."""

_UNSIGNED = "Send a token: 'Authorization: Bearer <token>'; or sign in with a browser at /sign-in."
_UNKNOWN = "This token is not known, or was revoked. `orch token list` shows those in force."
_LOOPBACK_ONLY = (
    "No sign-in is configured, so only unforwarded requests from this machine are answered. Set ORCH_API_TOKEN "
    "(or ORCH_GITEA_OAUTH_CLIENT_ID), restart, and send 'Authorization: Bearer <token>' or sign in."
)
_WRONG_HOST = "This service is not asked for by this name. Add the name to ORCH_ALLOWED_HOSTS, and restart."
_FOREIGN = "A page of another site may not change anything here."
_UNSURE = "The browser does not say which page asks (no Origin), so nothing was changed."
_NO_CSRF = "The form is not one of ours, or is older than your sign-in. Nothing was changed: load the page again."
_TOO_LITTLE = "You may look at this, but not do it: {name} has the scope {has}, and it needs {needs}."


@dataclass(frozen=True, slots=True)
class Refusal:
    """What is answered instead. `location` is where a browser is sent. `code` and `about` are for a page, which
    says it in its reader's language.
    """

    status: int
    detail: str
    location: str = ""
    is_htmx: bool = False
    code: str = ""
    about: tuple[tuple[str, str], ...] = ()


class Access:
    """The judge of one configuration."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity

    async def judge(self, scope: Request, receive: Receive) -> tuple[Caller, Receive] | Refusal:
        """The caller, and what the app is to receive; or why not. `scope["path"]` is without the prefix."""
        refusal = self._of_browser(scope)
        if refusal:
            return refusal
        found = self._who(scope)
        if isinstance(found, Refusal):
            return found
        needed = _needed(scope)
        if not found.may(needed):
            return _too_little(found, needed)
        if _is_open(scope) or scope["method"] in READING or not self._is_by_browser(scope, found):
            return found, receive
        return await self._with_token(scope, receive, found)

    def may_still(self, scope: Request, found: Caller) -> bool:
        """Of a request that was let through: whether the same caller would be, now. False when nobody can tell."""
        try:
            now = self._who(scope)
        except OrchestratorError:
            return False
        return isinstance(now, Caller) and now.name == found.name and now.may(_needed(scope))

    def _of_browser(self, scope: Request) -> Refusal | None:
        hosts = self._identity.hosts
        if not hosts.is_allowed(scope):
            return Refusal(403, _WRONG_HOST, code="wrong_host")
        if scope["method"] not in READING and hosts.is_foreign(scope):
            return Refusal(403, _FOREIGN, code="foreign_page")
        return None

    def _who(self, scope: Request) -> Caller | Refusal:
        identity, token = self._identity, bearer(scope)
        if token is not None:
            return identity.of_token(token) or Refusal(401, _UNKNOWN, code="unknown_token")
        found = identity.of_session(scope)
        if found:
            return found
        if not identity.is_configured:
            is_near = is_direct(scope)
            return self._this_machine() if is_near else Refusal(403, _LOOPBACK_ONLY, code="loopback_only")
        return NOBODY if _is_open(scope) else self._unknown(scope)

    def _this_machine(self) -> Caller:
        return replace(THIS_MACHINE, csrf=self._identity.sessions.csrf(THIS_MACHINE.name))

    def _unknown(self, scope: Request) -> Refusal:
        """A person is shown where to sign in, and comes back to where they wanted to go; a program is told."""
        prefix = self._identity.cookies.prefix
        if values(scope, b"hx-request"):
            page = _text(scope, b"hx-current-url")
            return Refusal(401, _UNSIGNED, local.sign_in(prefix, local.from_page(page, prefix)), is_htmx=True)
        is_page = "text/html" in _text(scope, b"accept") and not scope["path"].startswith("/api/")
        if not is_page:
            return Refusal(401, _UNSIGNED)
        is_reading = scope["method"] in READING
        after = local.wanted(scope) if is_reading else local.from_page(_text(scope, b"referer"), prefix)
        return Refusal(303, _UNSIGNED, local.sign_in(prefix, after))

    def _is_by_browser(self, scope: Request, found: Caller) -> bool:
        """Whether a browser brought along by itself who it is: then any page may have sent it."""
        if found.session:
            return True
        return bearer(scope) is None and is_from_page(scope)

    async def _with_token(
        self, scope: Request, receive: Receive, found: Caller
    ) -> tuple[Caller, Receive] | Refusal:
        if not self._identity.hosts.is_own_page(scope):
            return Refusal(403, _UNSURE, code="unsure_page")
        given, again = await form.carried(scope, receive)
        if not self._identity.sessions.is_csrf(found.session or found.name, given):
            return Refusal(403, _NO_CSRF, code="no_csrf")
        return found, again


def _too_little(found: Caller, needed: Scope) -> Refusal:
    about = (("name", found.name or "nobody"), ("has", found.scope.name.lower()), ("needs", needed.name.lower()))
    return Refusal(403, _TOO_LITTLE.format(**dict(about)), code="too_little", about=about)


def _is_open(scope: Request) -> bool:
    return scope["path"] in OPEN or (scope["path"].startswith(STATIC) and scope["method"] in READING)


def _needed(scope: Request) -> Scope:
    path = scope["path"]
    if _is_open(scope):
        return Scope.NONE
    if any(path == one or path.startswith(f"{one}/") for one in ADMINS):
        return Scope.ADMIN
    return Scope.READ if scope["method"] in READING else NEEDS.get(path, Scope.OPERATE)


def _text(scope: Request, name: bytes) -> str:
    given = values(scope, name)
    return given[0].decode("latin-1") if given else ""


async def send_refusal(send: Any, refusal: Refusal) -> None:
    """A redirection for a browser that nobody knows, else a problem."""
    if not refusal.location:
        await send_problem(send, refusal.status, refusal.detail)
        return
    name = b"hx-redirect" if refusal.is_htmx else b"location"
    headers = [
        (name, refusal.location.encode("latin-1")),
        (b"content-length", b"0"),
        (b"cache-control", b"no-store"),
    ]
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": b""})
