"""What the dashboard's forms order. Access has seen to it that the form is ours and that the caller may.

Each does what the API's endpoint does, and leads back to the page that it was sent from.
"""

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import RedirectResponse

from orchestrator.web import acting, voting
from orchestrator.web.caller import caller
from orchestrator.web.rendering import GivenRendering
from orchestrator.web.services import Given, Services
from orchestrator.web.signin.local import local

router = APIRouter(include_in_schema=False)
Order = Callable[[Services, str], Awaitable[None]]
Short = Annotated[str, Form(max_length=64)]
ORDERS: dict[str, Order] = {
    "retry": acting.retry,
    "pause": acting.pause,
    "resume": acting.resume,
    "cancel": acting.cancel_task,
}


async def _back(
    rendering: GivenRendering, back: Annotated[str, Form(max_length=2000)] = ""
) -> Callable[[str], RedirectResponse]:
    """To the page of ours that the form names; else to the task's, or home."""

    def to(key: str) -> RedirectResponse:
        where = rendering.url("/tasks", key) if key and not back else rendering.url(local(back))
        return RedirectResponse(where, 303, {"Cache-Control": "no-store"})

    return to


Back = Annotated[Callable[[str], RedirectResponse], Depends(_back)]


@router.post("/actions/pause")
async def pause_all(services: Given, back: Back) -> RedirectResponse:
    await acting.pause_all(services)
    return back("")


@router.post("/actions/resume")
async def resume_all(services: Given, back: Back) -> RedirectResponse:
    await acting.resume_all(services)
    return back("")


def _add(name: str, order: Order) -> None:
    @router.post(f"/actions/tasks/{{key}}/{name}", name=f"order_{name}")
    async def ordered(services: Given, back: Back, key: str) -> RedirectResponse:
        await order(services, key)
        return back(key)


for _name, _order in ORDERS.items():
    _add(_name, _order)


@router.post("/actions/tasks/{key}/approve")
async def approve(
    services: Given, back: Back, key: str, request: Request, gate: Short, digest: Short
) -> RedirectResponse:
    await voting.approve(services, key, caller(request.scope).login, gate, digest)
    return back(key)


@router.post("/actions/tasks/{key}/reject")
async def reject(  # noqa: PLR0913, PLR0917 - each is a field of the form
    services: Given,
    back: Back,
    key: str,
    request: Request,
    gate: Short,
    digest: Short,
    why: Annotated[str, Form()] = "",
) -> RedirectResponse:
    await voting.reject(services, key, caller(request.scope).login, gate, digest, why)
    return back(key)
