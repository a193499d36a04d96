"""All that stands behind Access: the API for programs, the pages for people."""

from fastapi import FastAPI

from orchestrator import __version__
from orchestrator.web import voting
from orchestrator.web.api import acting, document, measures, problems, reading, statistics, stream
from orchestrator.web.escaping import Escaping
from orchestrator.web.pages import PAGES, add_pages
from orchestrator.web.services import Services

API = (
    reading.router,
    stream.router,
    reading.by_number,
    statistics.router,
    measures.router,
    acting.router,
    voting.router,
)
"""In the order in which they are asked."""


def create_app(services: Services, root_path: str = "") -> FastAPI:
    app = FastAPI(
        title="orchestrator",
        version=__version__,
        servers=[{"url": root_path}] if root_path else None,
        docs_url=None,
        redoc_url=None,
        responses=problems.EVERYWHERE,
        routes=[
            route for router in (*API, *PAGES) for route in router.routes
        ],  # as they are: to include them makes each anew
    )
    app.state.services = services
    app.state.newest = stream.newest_of(services)
    app.add_middleware(Escaping)
    problems.add(app)
    document.add(app)
    add_pages(app, services, root_path)
    return app
