"""`/tokens`: which are in force, and the button that ends one. For admins; none is made here, see `orch token`."""

from functools import partial
from urllib.parse import quote

import structlog
from fastapi import FastAPI, Request
from fastapi.responses import RedirectResponse, Response

from orchestrator.store import tokens as rows
from orchestrator.web.acting import Absent
from orchestrator.web.caller import caller
from orchestrator.web.rendering import Rendering
from orchestrator.web.services import Services

log = structlog.get_logger()


def add(app: FastAPI, services: Services, rendering: Rendering) -> None:
    """Access lets admins alone come this far."""

    @app.get("/tokens", include_in_schema=False)
    async def show(request: Request) -> Response:
        found = await services.database.read(rows.listed)
        return rendering.page(request, "tokens.html", tokens=found, quoted=partial(quote, safe=""))

    @app.post("/actions/tokens/{name}/revoke", include_in_schema=False)
    async def revoke(request: Request, name: str) -> Response:
        now = services.clock.now()
        if not await services.database.write(lambda connection: rows.revoke(connection, name, now)):
            raise Absent("token", name)
        log.info("token_revoked", name=name, by=caller(request.scope).name)
        return RedirectResponse(rendering.url("/tokens"), 303)
