"""Errors as RFC 9457 tells them, whoever raises them: we, the framework, or a check of what was sent."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Literal

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from orchestrator.domain.errors import OrchestratorError, Rejected, Transient

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 5
MOST_FAULTS = 20
_MAX_TEXT_CHARS = 300


class Fault(BaseModel):
    """One thing that is wrong with what was sent."""

    where: str = Field(description="`query.limit`, `path.run`, `body.role`", examples=["query.limit"])
    message: str = Field(examples=["Input should be less than or equal to 200"])


class Problem(BaseModel):
    """RFC 9457. `title` is a stable code, `detail` says what happened and what to do."""

    type: Literal["about:blank"] = Field(default="about:blank", description="always `about:blank`")
    title: str = Field(description="a stable code, for programs", examples=["not_found"])
    status: int = Field(examples=[404])
    detail: str = Field(description="for people", examples=["There is no task ENDURO-99."])
    errors: list[Fault] | None = Field(default=None, description="of 422: each fault of what was sent")


_WHAT = {
    400: "The body is no JSON.",
    401: "No token, an unknown one, or no sign-in.",
    403: "Not allowed: the caller's scope is too small, or the request comes from a foreign page or host.",
    404: "There is none with this name.",
    409: "It cannot be done in the present state; `detail` says why.",
    422: "Something that was sent is wrong; `errors` lists the faults.",
    503: "Not now: the database cannot be used, or all places are taken. `Retry-After` says when to come again.",
}


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For FastAPI's `responses`: these statuses tell a Problem."""
    schema = {"$ref": "#/components/schemas/Problem"}
    return {
        status: {"description": _WHAT[status], "content": {MEDIA_TYPE: {"schema": schema}}} for status in statuses
    }


EVERYWHERE = responses(401, 403, 422, 503)


def add(app: FastAPI) -> None:
    """On an app: whatever goes wrong behind it is told as a Problem."""
    app.add_exception_handler(OrchestratorError, told)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _of_framework)
    app.add_exception_handler(Exception, _unexpected)


async def told(_request: Request, error: Exception) -> JSONResponse:
    """The hint says what to do next."""
    assert isinstance(error, OrchestratorError)  # noqa: S101 - registered for this class
    status = error.status if isinstance(error, Rejected) else 503
    wish = error.retry_after_s if isinstance(error, Transient) else None
    headers = {"Retry-After": str(round(wish or RETRY_AFTER_S))} if status == 503 else {}
    return _answer(status, error.code, f"{error.message} {error.hint}".strip(), headers)


async def _invalid(_request: Request, error: Exception) -> JSONResponse:
    """Says where and why, never what was sent: that may be long, or a secret."""
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for this class
    faults = [_fault(one) for one in error.errors()[:MOST_FAULTS]]
    told = "; ".join(f"{one.where}: {one.message}" for one in faults[:3])
    return _answer(422, "invalid", f"What was sent is wrong. {told}.", errors=faults)


def _fault(error: Mapping[str, Any]) -> Fault:
    where = ".".join(str(part) for part in error.get("loc", ()))
    return Fault(where=_bounded(where), message=_bounded(str(error.get("msg", ""))))


def _bounded(text: str) -> str:
    shown = "".join(char if char.isprintable() else " " for char in text)
    return shown[:_MAX_TEXT_CHARS]


async def _of_framework(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this class
    phrase = HTTPStatus(error.status_code).phrase
    path = _bounded(request.scope["path"])
    if error.status_code == 404:
        return _answer(404, "not_found", f"Nothing is at {path}. /openapi.json describes what there is.")
    if error.status_code == 405:
        allowed = dict(error.headers or {})
        return _answer(405, "method_not_allowed", f"{request.method} is not answered at {path}.", allowed)
    code = phrase.lower().replace(" ", "_")
    return _answer(error.status_code, code, _bounded(str(error.detail)), dict(error.headers or {}))


async def _unexpected(_request: Request, _error: Exception) -> JSONResponse:
    """The fault itself is in the log; it may hold what nobody outside should read."""
    return _answer(500, "internal_error", "A fault of ours: its report is in the service's log.")


def _answer(
    status: int,
    code: str,
    detail: str,
    headers: Mapping[str, str] | None = None,
    *,
    errors: Sequence[Fault] | None = None,
) -> JSONResponse:
    problem = Problem(title=code, status=status, detail=detail, errors=list(errors) if errors else None)
    return JSONResponse(problem.model_dump(exclude_none=True), status, dict(headers or {}), media_type=MEDIA_TYPE)
