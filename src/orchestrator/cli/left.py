"""The API over the database as the last server left it: the same endpoints, in this process, for reading."""

import asyncio
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from orchestrator import logs, main
from orchestrator.cli.server import Answer
from orchestrator.config import Settings, secret_values
from orchestrator.configfile import Directory
from orchestrator.dbfile import newest_revision
from orchestrator.web.caller import KEY, THIS_MACHINE

_MAGIC, _WITH_WAL = b"SQLite format 3\0", b"\2\2"


class Unreadable(Exception):
    """The database cannot be asked; the text says what to do."""


class Left:
    """Opens nothing but the database, and starts nothing."""

    def __init__(self, settings: Settings, directory: Directory) -> None:
        logs.set_up("error", secret_values(settings))
        self._orchestrator = main.build(settings, directory)
        self._runner = asyncio.Runner()
        self._app: Any = None

    def open(self) -> None:
        """Raises Unreadable; makes no file."""
        database = self._orchestrator.database
        if not database.path.is_file():
            raise Unreadable(f"There is no database at {database.path} either.")
        present = database.revision_now() if _is_of_our_kind(database.path) else None
        if present != newest_revision():
            found = f"has schema {present}" if present else "is not one of ours"
            raise Unreadable(f"{database.path} {found}, this version reads {newest_revision()}.")

    def ask(self, path: str) -> Answer:
        if self._app is None:
            self._app = self._orchestrator.api()
        return self._runner.run(_asked(self._app, path))

    def pause(self, key: str | None, *, is_paused: bool) -> bool:
        """Of everything without a key. False: there is no such task."""
        from orchestrator.store import tasks  # noqa: PLC0415 - hardly ever needed

        dispatch, database = self._orchestrator.dispatch, self._orchestrator.database
        if key is None:
            self._runner.run(dispatch.pause_all(is_paused=is_paused))
            return True
        task = database.read_now(lambda connection: tasks.by_key(connection, key))
        if task is not None:
            self._runner.run(dispatch.pause_task(task.id, is_paused=is_paused))
        return task is not None

    def close(self) -> None:
        self._runner.run(self._close())
        self._runner.close()

    async def _close(self) -> None:
        for adapter in self._orchestrator.adapters:
            await adapter.aclose()
        await self._orchestrator.database.aclose()


def _is_of_our_kind(path: Path) -> bool:
    """SQLite with a write-ahead log. Anything else would be changed by opening it."""
    try:
        with path.open("rb") as file:
            head = file.read(20)
    except OSError as error:
        raise Unreadable(f"The database at {path} cannot be read: {error.strerror}.") from error
    return head.startswith(_MAGIC) and head[18:] == _WITH_WAL


async def _asked(app: Any, path: str) -> Answer:
    """One GET, without a socket. Who may start this program may read its database."""
    place, _, query = path.partition("?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": unquote(place),
        "raw_path": place.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(b"host", b"localhost"), (b"accept", b"application/json")],
        "client": ("127.0.0.1", 0),
        "server": ("localhost", 80),
        KEY: THIS_MACHINE,
    }
    sent: list[MutableMapping[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    await app(scope, receive, send)
    start, *parts = sent
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in start["headers"]}
    return Answer(start["status"], b"".join(part.get("body", b"") for part in parts), headers)
