"""What the dashboard's forms order. Access has seen to it that the form is ours and that the caller may.

Each does what the API's endpoint does, and leads back to the page that it was sent from.
"""

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import FastAPI, Form, Request
from fastapi.responses import RedirectResponse

from orchestrator.web import acting, voting
from orchestrator.web.caller import caller
from orchestrator.web.rendering import Rendering
from orchestrator.web.services import Services
from orchestrator.web.signin.local import local

Order = Callable[[Services, str], Awaitable[None]]
Back = Annotated[str, Form(max_length=2000)]
Short = Annotated[str, Form(max_length=64)]
ORDERS: dict[str, Order] = {
    "retry": acting.retry,
    "pause": acting.pause,
    "resume": acting.resume,
    "cancel": acting.cancel_task,
}


def add(app: FastAPI, services: Services, rendering: Rendering) -> None:
    def back_to(path: str, key: str = "") -> RedirectResponse:
        """To a page of ours: the task's, unless the form says another."""
        where = rendering.url("/tasks", key) if key and not path else rendering.url(local(path))
        return RedirectResponse(where, 303, {"Cache-Control": "no-store"})

    @app.post("/actions/pause", include_in_schema=False)
    async def pause_all(back: Back = "/") -> RedirectResponse:
        await acting.pause_all(services)
        return back_to(back)

    @app.post("/actions/resume", include_in_schema=False)
    async def resume_all(back: Back = "/") -> RedirectResponse:
        await acting.resume_all(services)
        return back_to(back)

    for name, order in ORDERS.items():
        _add_order(app, services, name, order, back_to)

    @app.post("/actions/tasks/{key}/approve", include_in_schema=False)
    async def approve(key: str, request: Request, gate: Short, digest: Short, back: Back = "") -> RedirectResponse:
        await voting.approve(services, key, caller(request.scope).login, gate, digest)
        return back_to(back, key)

    @app.post("/actions/tasks/{key}/reject", include_in_schema=False)
    async def reject(
        key: str, request: Request, gate: Short, digest: Short, why: Annotated[str, Form()] = "", back: Back = ""
    ) -> RedirectResponse:
        await voting.reject(services, key, caller(request.scope).login, gate, digest, why)
        return back_to(back, key)


def _add_order(
    app: FastAPI, services: Services, name: str, order: Order, back_to: Callable[[str, str], RedirectResponse]
) -> None:
    @app.post(f"/actions/tasks/{{key}}/{name}", include_in_schema=False, name=f"order_{name}")
    async def ordered(key: str, back: Back = "") -> RedirectResponse:
        await order(services, key)
        return back_to(back, key)
