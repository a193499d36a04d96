"""Gitea's OAuth2 server in small: the grant page, codes with PKCE, user tokens. `GiteaSim.oauth` holds it.

After go-gitea/gitea routers/web/auth/oauth2_provider.go: which checks are made, in which order, and what is said.
Who is signed in at the simulated Gitea is its cookie `gitea_user`; a name is the whole password.
"""

import base64
import binascii
import hashlib
import html
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode, urlsplit, urlunsplit

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

if TYPE_CHECKING:
    from orchestrator.sim.gitea import GiteaSim

CODE_S: Final = 600
MAX_CODES: Final = 1000
COOKIE: Final = "gitea_user"


@dataclass(frozen=True, slots=True)
class Application:
    """An OAuth2 application as the settings page of Gitea makes it; a confidential one."""

    client_id: str
    secret: str
    redirect_uris: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Code:
    """What a code stands for. It is good once."""

    login: str
    client_id: str
    redirect_uri: str
    scope: str
    challenge: str
    method: str
    made_at: float


@dataclass(slots=True)
class OAuth:
    """The applications, and the codes that nobody has used yet. `granted` is whom the page asked once already."""

    applications: dict[str, Application] = field(default_factory=dict)
    codes: dict[str, Code] = field(default_factory=dict)
    granted: set[tuple[str, str]] = field(default_factory=set)
    scopes: list[str] = field(default_factory=list)
    """What was asked for, in order."""

    def add(self, *redirect_uris: str) -> Application:
        made = Application(secrets.token_hex(18), f"gto_{secrets.token_hex(24)}", redirect_uris)
        self.applications[made.client_id] = made
        return made


def routes(sim: "GiteaSim") -> list[Route]:
    pages = _Pages(sim)
    return [
        Route("/user/login", pages.log_in, methods=["GET", "POST"]),
        Route("/login/oauth/authorize", pages.authorize, methods=["GET"]),
        Route("/login/oauth/grant", pages.grant, methods=["POST"]),
        Route("/login/oauth/access_token", pages.access_token, methods=["POST"]),
    ]


class _Pages:
    def __init__(self, sim: "GiteaSim") -> None:
        self._sim = sim

    @property
    def _oauth(self) -> OAuth:
        return self._sim.oauth

    async def log_in(self, request: Request) -> Response:
        """A name is enough here."""
        back = request.query_params.get("redirect_to", "/")
        if request.method == "GET":
            return _page("Sign In", "/user/login?" + urlencode({"redirect_to": back}), (), "user_name")
        login = str((await request.form()).get("user_name", ""))
        if login not in self._sim.users:
            return HTMLResponse("Username or password is incorrect.", 200)
        answer = RedirectResponse(back if back.startswith("/") else "/", 303)
        answer.set_cookie(COOKIE, login, httponly=True, samesite="lax")
        return answer

    async def authorize(self, request: Request) -> Response:
        login = request.cookies.get(COOKIE, "")
        if login not in self._sim.users:
            here = f"{request.url.path}?{request.url.query}"
            return RedirectResponse("/user/login?" + urlencode({"redirect_to": here}), 303)
        given = dict(request.query_params)
        application = self._oauth.applications.get(given.get("client_id", ""))
        if application is None:
            return HTMLResponse("Client ID not registered", 400)
        if given.get("redirect_uri") not in application.redirect_uris:
            return HTMLResponse("Unregistered Redirect URI", 400)
        if fault := _fault(given):
            return _back(given, {"error": fault})
        self._oauth.scopes.append(given.get("scope", ""))
        if (login, application.client_id) in self._oauth.granted:
            return _back(given, {"code": self._code(login, given)})
        return _page("Authorize Application", "/login/oauth/grant", tuple(given.items()))

    async def grant(self, request: Request) -> Response:
        """The two buttons of the grant page."""
        sent = {name: str(value) for name, value in (await request.form()).items()}
        login, application = (
            request.cookies.get(COOKIE, ""),
            self._oauth.applications.get(sent.get("client_id", "")),
        )
        if login not in self._sim.users or application is None:
            return HTMLResponse("Bad Request", 400)
        if sent.get("redirect_uri") not in application.redirect_uris:
            return HTMLResponse("Bad Request", 400)
        if sent.get("granted") != "true":
            return _back(sent, {"error": "access_denied", "error_description": "the request is denied"})
        self._oauth.granted.add((login, application.client_id))
        return _back(sent, {"code": self._code(login, sent)})

    async def access_token(self, request: Request) -> Response:
        sent = {name: str(value) for name, value in (await request.form()).items()}
        client_id, secret = _basic(request.headers.get("authorization", ""))
        application = self._oauth.applications.get(sent.get("client_id") or client_id)
        if sent.get("grant_type") != "authorization_code":
            return _error(
                "unsupported_grant_type", "Only refresh_token or authorization_code grant type is supported"
            )
        if application is None:
            return _error("invalid_client", "cannot load client")
        if not secrets.compare_digest((sent.get("client_secret") or secret).encode(), application.secret.encode()):
            return _error("unauthorized_client", "invalid client secret")
        code = self._oauth.codes.get(sent.get("code", ""))
        if code is None:
            return _error("unauthorized_client", "client is not authorized")
        if self._sim.now().timestamp() - code.made_at > CODE_S:
            return _error("invalid_grant", "authorization code expired")
        if not _is_proved(code, sent.get("code_verifier", "")):
            return _error("unauthorized_client", "failed PKCE code challenge")
        if code.redirect_uri != sent.get("redirect_uri"):
            return _error("invalid_grant", "redirect_uri differs from the original authorization request")
        if code.client_id != application.client_id:
            return _error("invalid_grant", "invalid grant")
        del self._oauth.codes[sent["code"]]
        return JSONResponse(self._token(code))

    def _token(self, code: Code) -> Mapping[str, object]:
        """Since 1.23 the scopes of a token are those of personal ones; with none of these among them, all."""
        asked = {one for one in code.scope.split() if ":" in one}
        value = self._sim.add_token(code.login, scopes=asked or None)
        return {"access_token": value, "token_type": "bearer", "expires_in": 3600, "refresh_token": ""}

    def _code(self, login: str, given: Mapping[str, str]) -> str:
        value = f"gta_{secrets.token_hex(24)}"
        challenge, method = given.get("code_challenge", ""), given.get("code_challenge_method", "")
        at = self._sim.now().timestamp()
        self._oauth.codes[value] = Code(
            login, given["client_id"], given["redirect_uri"], given.get("scope", ""), challenge, method, at
        )
        while len(self._oauth.codes) > MAX_CODES:
            del self._oauth.codes[next(iter(self._oauth.codes))]
        return value


def _fault(given: Mapping[str, str]) -> str:
    if given.get("response_type") != "code":
        return "unsupported_response_type"
    return "" if given.get("code_challenge_method", "") in {"", "S256", "plain"} else "invalid_request"


def _is_proved(code: Code, verifier: str) -> bool:
    match code.method:
        case "S256":
            made = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=")
            return secrets.compare_digest(made, code.challenge.encode())
        case "plain":
            return secrets.compare_digest(verifier.encode(), code.challenge.encode())
        case _:
            return True


def _basic(header: str) -> tuple[str, str]:
    scheme, _, value = header.partition(" ")
    if scheme.lower() != "basic":
        return "", ""
    try:
        name, _, password = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    return name, password


def _back(given: Mapping[str, str], said: Mapping[str, str]) -> Response:
    """303, as Gitea does after the grant page; the state comes back as it was sent."""
    parts = urlsplit(given["redirect_uri"])
    query = urlencode({**said, "state": given.get("state", "")})
    return RedirectResponse(urlunsplit(parts._replace(query=query)), 303)


def _error(code: str, description: str) -> Response:
    return JSONResponse({"error": code, "error_description": description}, 400)


def _page(title: str, action: str, hidden: tuple[tuple[str, str], ...], asked: str = "") -> Response:
    """As plain as it may be: what counts is which forms there are."""
    fields = "".join(
        f'<input type="hidden" name="{html.escape(name)}" value="{html.escape(value)}">' for name, value in hidden
    )
    entry = f'<label>Username <input name="{asked}" autofocus></label><button>Sign In</button>' if asked else ""
    buttons = '<button name="granted" value="true">Authorize Application</button>' if hidden else ""
    buttons += '<button name="granted" value="false">Cancel</button>' if hidden else ""
    text = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title></head><body>'
        f'<main><h1>{title}</h1><form method="post" action="{html.escape(action)}">{fields}{entry}{buttons}</form>'
        "</main></body></html>"
    )
    return HTMLResponse(text)
