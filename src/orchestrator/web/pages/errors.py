"""What went wrong, for people: a page with what to do next. Programs get RFC 9457, as before."""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from orchestrator.domain.errors import OrchestratorError, Rejected
from orchestrator.web.access import Refusal
from orchestrator.web.acting import Absent
from orchestrator.web.catalogue import catalogue, words
from orchestrator.web.front import REFUSED, REFUSED_PATH
from orchestrator.web.rendering import Rendering, language_of

Handler = Callable[[Request, Exception], Awaitable[Response]]
TOLD: Final = (403, 404, 405, 409, 422, 500, 503)
"""Statuses with words of their own."""
_TITLES: Final = {404: "not_found", 405: "method_not_allowed"}


def add(app: FastAPI, rendering: Rendering) -> None:
    """Last, so that what was answered before is what programs still get."""
    for kind in (OrchestratorError, HTTPException, RequestValidationError, Exception):
        app.add_exception_handler(kind, _answer(rendering, app.exception_handlers.get(kind)))

    @app.get(REFUSED_PATH, include_in_schema=False)
    async def refused(request: Request) -> Response:
        """Where the front leads a browser that Access refused; nobody gets there otherwise."""
        refusal: Refusal | None = request.scope.get(REFUSED)
        if refusal is None:
            raise HTTPException(404)
        said = _said(request, refusal.code, refusal.about)
        return _page(rendering, request, refusal.status, said, refusal.detail)


def is_for_people(request: Request) -> bool:
    """A browser that asks for a page."""
    is_page = "text/html" in request.headers.get("accept", "") and not request.scope["path"].startswith("/api/")
    return is_page and "hx-request" not in request.headers


def _answer(rendering: Rendering, otherwise: Any) -> Handler:
    async def answer(request: Request, error: Exception) -> Response:
        if not is_for_people(request):
            return await otherwise(request, error) if otherwise else _problem(error)
        match error:
            case Absent(kind=kind, name=name):
                said, detail = _said(request, f"absent_{kind}", (("name", name),)), error.message
            case OrchestratorError(code=code):
                said, detail = _said(request, code), f"{error.message} {error.hint}".strip()
            case _:
                said, detail = "", ""
        return _page(rendering, request, _status(error), said, detail)

    return answer


def _status(error: Exception) -> int:
    match error:
        case Rejected(status=status):
            return int(status)
        case OrchestratorError():
            return 503
        case HTTPException(status_code=status):
            return int(status)
        case RequestValidationError():
            return 422
        case _:
            return 500


def _problem(error: Exception) -> Response:
    status = _status(error)
    body = {"type": "about:blank", "title": _TITLES.get(status, "internal_error"), "status": status}
    return JSONResponse(body, status, media_type="application/problem+json")


def _said(request: Request, code: str, about: Iterable[tuple[str, str]] = ()) -> str:
    """What the code means, in the reader's language; empty where there are no words for it."""
    language, key = language_of(request), f"errors.{code}"
    return words(language)(key, **dict(about)) if key in catalogue(language) else ""


def _page(rendering: Rendering, request: Request, status: int, said: str, detail: str) -> Response:
    """In our words where there are some, else in those of the fault, which are English."""
    path: str = request.scope["path"]
    key = path.split("/")[3] if path.startswith("/actions/tasks/") else ""
    told = status if status in TOLD else 500 if status >= 500 else 404
    return rendering.page(
        request, "error.html", status=status, code=status, told=told, said=said, detail=detail, key=key
    )
