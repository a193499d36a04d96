"""The original specification's own way to take a delivery."""

import contextlib
import json
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

from fastapi import FastAPI, Request


def spec(database: Path) -> FastAPI:
    """The specification's way: no signature, no dedupe, one connection and one commit a request.

    On journal mode and synchronous it says nothing, so they are SQLite's defaults.
    """

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        with contextlib.closing(sqlite3.connect(database)) as connection:
            connection.execute(
                "CREATE TABLE IF NOT EXISTS events (id INTEGER PRIMARY KEY AUTOINCREMENT, "
                "timestamp DATETIME DEFAULT CURRENT_TIMESTAMP, source TEXT, event_type TEXT, payload TEXT, "
                "processed INTEGER DEFAULT 0)"
            )
        yield

    app = FastAPI(lifespan=lifespan)

    @app.post("/webhook/gitea")
    async def webhook(request: Request) -> dict[str, str]:
        body = await request.json()
        event = request.headers.get("X-Gitea-Event", "")
        with contextlib.closing(sqlite3.connect(database)) as connection:
            row = ("gitea", event, json.dumps(body))
            connection.execute("INSERT INTO events (source, event_type, payload) VALUES (?, ?, ?)", row)
            connection.commit()
        return {"status": "accepted"}

    return app
