"""`/`: a column for each stage, and first of all what needs a person."""

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse

from orchestrator.web.rendering import Rendering
from orchestrator.web.services import Services


def add(app: FastAPI, services: Services, rendering: Rendering) -> None:
    del services

    @app.get("/", include_in_schema=False)
    async def board(request: Request) -> HTMLResponse:
        return rendering.page(request, "board.html")
