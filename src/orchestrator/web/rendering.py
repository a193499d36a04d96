"""Templates to HTML: autoescaped, without scripts of their own, in the reader's language."""

from typing import Any
from urllib.parse import quote

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from orchestrator import __version__
from orchestrator.domain.model import Language
from orchestrator.web.caller import caller
from orchestrator.web.catalogue import words

LANGUAGE_COOKIE = "orch_language"
HEADERS = {
    # No inline script, no inline style, nothing from elsewhere; forms go nowhere but here.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; font-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def language_of(request: Request) -> Language:
    """The switch's cookie, else `Accept-Language`, else English."""
    chosen = request.cookies.get(LANGUAGE_COOKIE, "")
    wanted = chosen or request.headers.get("accept-language", "").strip().lower()
    return Language.RU if wanted.startswith("ru") else Language.EN


class Rendering:
    """`prefix` is the path under which browsers see the app; every address in a page goes through `url`."""

    def __init__(self, prefix: str = "") -> None:
        self._prefix = prefix.rstrip("/")
        self._environment = Environment(
            loader=PackageLoader("orchestrator.web"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.globals["url"] = self.url
        self._environment.globals["version"] = __version__

    def url(self, path: str, *parts: object) -> str:
        """`url("/tasks", key)`: each part is quoted, so that a key stays within its place."""
        return "".join((self._prefix, path, *(f"/{quote(str(part), safe='')}" for part in parts)))

    def page(self, request: Request, template: str, /, status: int = 200, **context: Any) -> HTMLResponse:
        """A whole page, or a part of one for htmx: both are templates."""
        language = language_of(request)
        text = self._environment.get_template(template).render(
            context,
            t=words(language),
            language=language.value,
            caller=caller(request.scope),
            path=request.scope["path"],
        )
        return HTMLResponse(text, status, HEADERS)
