"""What the service is compared to: a bare "hello", and the original specification's own way to take a delivery.

`python -m benchmarks.baseline hello|spec FOLDER` serves one of them and prints its port.
"""

import contextlib
import json
import socket
import sqlite3
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, Request

from orchestrator.cli.serve import KEEP_ALIVE_S
from orchestrator.webhooks.deadline import protocol_with_deadline

_HELLO = b"hello"
_HEADERS = [(b"content-type", b"text/plain"), (b"content-length", b"5")]
RECEIVE_TIMEOUT_S = 10.0


async def hello(scope: Any, receive: Any, send: Any) -> None:
    """The least that an ASGI app can do. A POST's body is read, a GET has none."""
    if scope["method"] == "POST":
        while (await receive()).get("more_body"):
            pass
    await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
    await send({"type": "http.response.body", "body": _HELLO})


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


def serve(app: Any, *, has_lifespan: bool) -> None:
    """The same uvicorn settings as `orch serve`."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    print(listener.getsockname()[1], flush=True)
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http=protocol_with_deadline(RECEIVE_TIMEOUT_S),
        ws="none",
        lifespan="on" if has_lifespan else "off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
    )
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    if sys.argv[1] == "hello":
        serve(hello, has_lifespan=False)
    else:
        serve(spec(Path(sys.argv[2]) / "spec.db"), has_lifespan=True)
