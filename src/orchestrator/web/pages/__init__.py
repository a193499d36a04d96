"""The dashboard: a module for each page. A page reads the store and renders; it changes nothing itself."""

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles

from orchestrator.web.pages import actions, board, errors, insight, journal, preferences, run, system, task
from orchestrator.web.rendering import Rendering
from orchestrator.web.services import Services
from orchestrator.web.signin import pages as sign_in
from orchestrator.web.signin import token_page

PAGES = (
    board.router,
    task.router,
    run.router,
    journal.router,
    insight.router,
    system.router,
    actions.router,
    preferences.router,
    token_page.router,
)
"""None is part of the OpenAPI document."""


def add_pages(app: FastAPI, services: Services, prefix: str) -> None:
    """What they are drawn with, and what is an app's own: files, sign-in, and errors as pages."""
    people = tuple((one.plane_user, one.gitea_login) for one in services.people if one.gitea_login)
    app.state.rendering = rendering = Rendering(prefix, services.clock, people)
    app.mount("/static", StaticFiles(packages=[("orchestrator.web", "static")]), name="static")
    sign_in.add(app, services, rendering)
    errors.add(app, rendering)
