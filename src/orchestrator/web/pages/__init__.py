"""The dashboard: a module for each page. A page reads the store and renders; it changes nothing itself."""

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles

from orchestrator.web.pages import actions, board, errors, insight, journal, preferences, run, system, task
from orchestrator.web.rendering import Rendering
from orchestrator.web.services import Services
from orchestrator.web.signin import pages as sign_in
from orchestrator.web.signin import token_page


def add_pages(app: FastAPI, services: Services, prefix: str) -> None:
    """Every page on `app`, none of them part of the OpenAPI document."""
    people = tuple((one.plane_user, one.gitea_login) for one in services.people if one.gitea_login)
    rendering = Rendering(prefix, services.clock, people)
    app.mount("/static", StaticFiles(packages=[("orchestrator.web", "static")]), name="static")
    board.add(app, services, rendering)
    task.add(app, services, rendering)
    run.add(app, services, rendering)
    journal.add(app, services, rendering)
    insight.add(app, services, rendering)
    system.add(app, services, rendering)
    actions.add(app, services, rendering)
    preferences.add(app, rendering)
    sign_in.add(app, services, rendering)
    token_page.add(app, services, rendering)
    errors.add(app, rendering)
