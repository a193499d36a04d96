"""The dashboard: a module for each page. A page reads the store and renders; it changes nothing itself."""

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles

from orchestrator.web.pages import board
from orchestrator.web.rendering import Rendering
from orchestrator.web.services import Services


def add_pages(app: FastAPI, services: Services, prefix: str) -> None:
    """Every page on `app`, none of them part of the OpenAPI document."""
    rendering = Rendering(prefix)
    app.mount("/static", StaticFiles(packages=[("orchestrator.web", "static")]), name="static")
    board.add(app, services, rendering)
