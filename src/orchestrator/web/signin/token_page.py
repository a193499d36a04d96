"""`/tokens`: which are in force, and the button that ends one. None is made here, see `orch token`.

Access lets admins alone come this far.
"""

from functools import partial
from urllib.parse import quote

import structlog
from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from orchestrator.store import tokens as rows
from orchestrator.web.acting import Absent
from orchestrator.web.caller import caller
from orchestrator.web.rendering import GivenRendering
from orchestrator.web.services import Given

log = structlog.get_logger()
router = APIRouter(include_in_schema=False)


@router.get("/tokens")
async def show(services: Given, rendering: GivenRendering, request: Request) -> Response:
    found = await services.database.read(rows.listed)
    return rendering.page(request, "tokens.html", tokens=found, quoted=partial(quote, safe=""))


@router.post("/actions/tokens/{name}/revoke")
async def revoke(services: Given, rendering: GivenRendering, request: Request, name: str) -> Response:
    now = services.clock.now()
    if not await services.database.write(lambda connection: rows.revoke(connection, name, now)):
        raise Absent("token", name)
    log.info("token_revoked", name=name, by=caller(request.scope).name)
    return RedirectResponse(rendering.url("/tokens"), 303)
