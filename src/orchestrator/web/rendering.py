"""Templates to HTML: autoescaped, without scripts of their own, in the reader's language."""

from datetime import datetime
from functools import cache, partial
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import Depends, Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from orchestrator import __version__
from orchestrator.domain.roles import Language
from orchestrator.ports import Clock
from orchestrator.web import formats
from orchestrator.web.caller import KEY, NOBODY, caller
from orchestrator.web.catalogue import words
from orchestrator.words.sentences import People

LANGUAGE_COOKIE = "orch_language"
THEME_COOKIE = "orch_theme"
THEMES = ("auto", "light", "dark")
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


def theme_of(request: Request) -> str:
    """`auto` follows the system."""
    chosen = request.cookies.get(THEME_COOKIE, "")
    return chosen if chosen in THEMES else "auto"


def here(request: Request) -> str:
    """The page's own path and query, without the prefix: where a switch or a form leads back to."""
    query = request.scope["query_string"].decode("ascii", "replace")
    return f"{request.scope['path']}?{query}" if query else str(request.scope["path"])


@cache
def environment(prefix: str) -> Environment:
    """One for the whole process: to compile the templates takes longer than to render any of them."""
    made = Environment(
        loader=PackageLoader("orchestrator.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=formats.seen,
    )
    made.globals |= {"url": partial(address, prefix), "version": __version__}
    made.filters |= {
        "stamp": formats.stamp,
        "utc": formats.utc,
        "money": formats.money,
        "count_of": formats.count,
        "short": formats.short,
    }
    return made


def address(prefix: str, path: str, *parts: object) -> str:
    """`url("/tasks", key)` of a template: each part is quoted, so that a key stays within its place."""
    return "".join((prefix, path, *(f"/{quote(str(part), safe='')}" for part in parts)))


class Rendering:
    """`prefix` is the path under which browsers see the app; every address in a page goes through `url`.
    `people` are names by the tracker's user ids.
    """

    def __init__(self, prefix: str, clock: Clock, people: People = ()) -> None:
        self._clock = clock
        self._people = people
        self._environment = environment(prefix.rstrip("/"))
        self.url = partial(address, prefix.rstrip("/"))

    def page(self, request: Request, template: str, /, status: int = 200, **context: Any) -> HTMLResponse:
        """A whole page, or a part of one for htmx: both are templates."""
        return HTMLResponse(self.text(request, template, **context), status, HEADERS)

    def text(self, request: Request, template: str, /, **context: Any) -> str:
        """What a page says, without the answer around it: for a stream of parts."""
        language = language_of(request)
        t, now = words(language), self._clock.now()

        def since(moment: datetime) -> float:
            return (now - moment).total_seconds()

        who = caller(request.scope) if KEY in request.scope else NOBODY
        return self._environment.get_template(template).render(
            context,
            t=t,
            language=language.value,
            theme=theme_of(request),
            caller=who,
            me=who,  # within a macro, `caller` is a word of Jinja's own
            path=request.scope["path"],
            here=here(request),
            now=now,
            age=lambda moment: formats.age(t, since(moment)),
            ago=lambda moment: formats.ago(t, since(moment)),
            lasted=partial(formats.age, t),
            named=partial(formats.named, language),
            so=partial(formats.so, language, self._people),
            todo=partial(formats.todo, language, self._people),
            who=partial(formats.who, language),
            say=partial(formats.say, language, t),
            person=lambda ident: dict(self._people).get(ident, ident),
        )


async def _given(request: Request) -> Rendering:
    rendering: Rendering = request.app.state.rendering
    return rendering


GivenRendering = Annotated[Rendering, Depends(_given)]
"""As `services.Given`: what a page is drawn with, a parameter of its endpoint."""
