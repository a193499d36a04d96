"""All that stands behind Access: the API for programs, the pages for people."""

from fastapi import FastAPI

from orchestrator import __version__
from orchestrator.web.api import acting, document, measures, problems, reading, statistics, stream
from orchestrator.web.escaping import Escaping
from orchestrator.web.pages import add_pages
from orchestrator.web.services import Services
from orchestrator.web.voting import add_voting


def create_app(services: Services, root_path: str = "") -> FastAPI:
    app = FastAPI(
        title="orchestrator",
        version=__version__,
        servers=[{"url": root_path}] if root_path else None,
        docs_url=None,
        redoc_url=None,
        responses=problems.EVERYWHERE,
    )
    app.add_middleware(Escaping)
    problems.add(app)
    reading.add(app, services)
    stream.add(app, services)
    statistics.add(app, services)
    measures.add(app, services)
    acting.add(app, services)
    add_voting(app, services)
    document.add(app)
    add_pages(app, services, root_path)
    return app
