"""The OpenAPI document: how to authenticate, what errors look like, what the groups are for."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from orchestrator.web.api.problems import Fault, Problem

SUMMARY = "What agents do between Plane and Gitea, and how to steer them."
DESCRIPTION = """Lists come newest first, in pages: `next` of an answer (and its `Link` header) leads to the page
after it. Errors are RFC 9457 problems: `title` is a stable code, `detail` says what to do. Times are UTC; costs
are US dollars as the CLI reckons them, notional for a subscription."""
TAGS = [
    {"name": "tasks", "description": "Work items on their way, and why they are where they are."},
    {"name": "runs", "description": "Attempts of the roles, with their logs."},
    {"name": "events", "description": "The journal: what Plane and Gitea told, and what it led to."},
    {"name": "decisions", "description": "What was decided, and all that it rested on."},
    {"name": "statistics", "description": "Money, times, rework; counters for Prometheus."},
    {"name": "service", "description": "How the service itself is."},
]
_SCHEMES = {
    "token": {
        "type": "http",
        "scheme": "bearer",
        "description": "ORCH_API_TOKEN, or one that `orch token create` made: with the scope `read`, or `operate` "
        "for changes.",
    },
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": "orch_session",
        "description": "Of a browser that signed in. Changes then need `X-CSRF-Token` and our own Origin, too.",
    },
}


def add(app: FastAPI) -> None:
    """Served at /openapi.json, made when somebody first asks."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # as the framework's manual says


def _document(app: FastAPI) -> dict[str, Any]:
    made = get_openapi(
        title=app.title,
        version=app.version,
        summary=SUMMARY,
        description=DESCRIPTION,
        routes=app.routes,
        tags=TAGS,
        servers=app.servers,
    )
    components = made.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for model in (Problem, Fault):
        schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas[model.__name__] = {name: part for name, part in schema.items() if name != "$defs"}
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    components["securitySchemes"] = _SCHEMES
    made["security"] = [{name: []} for name in _SCHEMES]
    return made
