"""The whole service on a port of this machine, rows for its pages to show, and what a page says."""

import asyncio
import contextlib
import unicodedata
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import httpx
import msgspec
import uvicorn
from sqlalchemy import Connection, insert

from orchestrator import config, main
from orchestrator.configfile import Directory
from orchestrator.domain.model import RunId, Stage, TaskId
from orchestrator.main import Orchestrator
from orchestrator.qg.verdict import Item
from orchestrator.sim.server import PromptServer, listening
from orchestrator.sim.webhook import TRUSTS_NOBODY
from orchestrator.store.schema import agent_runs, next_revision, tasks

NOW = datetime(2026, 11, 26, 18, 0, tzinfo=UTC)
VOID = frozenset({"meta", "link", "input", "br", "hr", "img"})


@contextlib.asynccontextmanager
async def served(
    folder: Path, directory: Directory | None = None, **environ: str
) -> AsyncIterator[tuple[Orchestrator, httpx.AsyncClient]]:
    """Without neighbours, so that it changes no row by itself. Signed out it takes whoever is on this machine."""
    settings = config.load({"ORCH_DATA_DIR": str(folder / "data"), **environ}, None)
    orchestrator = main.build(settings, directory or Directory())
    front = main.asgi(orchestrator, allow_unsigned_loopback=True)
    listener = listening(0)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    server = PromptServer(uvicorn.Config(front, log_config=None, ws="none", timeout_graceful_shutdown=1))
    serving = asyncio.create_task(server.serve([listener]))
    try:
        while not server.started and not serving.done():  # noqa: ASYNC110 - uvicorn tells it no other way
            await asyncio.sleep(0.01)
        await resynced(orchestrator)
        async with httpx.AsyncClient(base_url=url, verify=TRUSTS_NOBODY, trust_env=False, timeout=20) as client:
            yield orchestrator, client
    finally:
        orchestrator.changes.close()
        server.end()
        await serving


async def resynced(orchestrator: Orchestrator) -> None:
    """Until the first resync has ended: what a test writes from now on nobody looks at."""
    while not orchestrator.counters.resyncs:  # noqa: ASYNC110 - nobody is told of it
        await asyncio.sleep(0.005)


async def page(client: httpx.AsyncClient, path: str, language: str = "en", status: int = 200) -> "Page":
    """As a browser asks for it."""
    answer = await client.get(path, headers={"accept": "text/html", "accept-language": language})
    assert answer.status_code == status, answer.text
    return Page(answer.text)


async def submit(client: httpx.AsyncClient, shown: "Page", action: str, **fields: str) -> httpx.Response:
    """Presses a form's button on a page, as a browser would: with its hidden fields, from a page of ours."""
    assert action in shown.forms(), shown.forms()
    hidden = shown.hidden_of(action)
    origin = {"origin": str(client.base_url).rstrip("/"), "accept": "text/html"}
    return await client.post(action, data=hidden | fields, headers=origin)


def add_task(
    connection: Connection,
    key: str | None,
    stage: Stage = Stage.ANALYSIS,
    *,
    title: str = "A title",
    waiting: tuple[Item, ...] = (),
    moved: datetime = NOW,
    **more: Any,
) -> TaskId:
    row = {
        "key": key,
        "plane_id": f"item-{key}",
        "title": title,
        "stage": stage,
        "repo": "acme/enduro-trails",
        "branch": f"feature/{key}-a-title",
        "base_branch": "main",
        "waiting": msgspec.json.encode(waiting).decode(),
        "created_at": moved - timedelta(days=1),
        "revision": next_revision(),
        "updated_at": moved,
    }
    return TaskId(connection.execute(insert(tasks).values(row | more).returning(tasks.c.id)).scalar_one())


def add_run(connection: Connection, task: TaskId, role: str, stage: Stage, attempt: int = 1, **more: Any) -> RunId:
    row = {
        "task_id": task,
        "agent": role,
        "stage": stage,
        "attempt": attempt,
        "state": "ended",
        "outcome": "succeeded",
        "intended_at": NOW - timedelta(hours=1),
        "session_id": f"s-{task}-{stage}-{attempt}",
        "base_sha": "a" * 40,
    }
    return RunId(connection.execute(insert(agent_runs).values(row | more).returning(agent_runs.c.id)).scalar_one())


class Page(HTMLParser):
    """Elements with their attributes, and the text that a reader sees."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        last = self.open.pop()
        assert last == tag, f"</{tag}> closes <{last}>"

    def handle_data(self, data: str) -> None:
        if not {"script", "style"} & set(self.open):
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    def all(self, tag: str, **having: str) -> list[dict[str, str]]:
        """`class_` may be one of several classes; other attributes are equal."""
        return [
            found
            for name, found in self.elements
            if name == tag
            and all(
                value in found.get("class", "").split() if key == "class_" else found.get(key) == value
                for key, value in having.items()
            )
        ]

    def links(self) -> list[str]:
        return [one["href"] for one in self.all("a")]

    def hidden_of(self, action: str) -> dict[str, str]:
        """Of the first form that is sent there."""
        at = next(
            place
            for place, (tag, attrs) in enumerate(self.elements)
            if tag == "form" and attrs.get("action") == action
        )
        found = {}
        for tag, attrs in self.elements[at + 1 :]:
            if tag == "form":
                break
            if tag == "input" and attrs.get("type") == "hidden":
                found[attrs["name"]] = attrs.get("value", "")
        return found

    def forms(self) -> list[str]:
        return [one["action"] for one in self.all("form", method="post")]


HOSTILE = "\x1b[31m\x00</pre><script>alert(1)</script><img src=x onerror=alert(1)>\u202e\x9b1m\"' style=x"
"""What must stay text wherever it is shown."""


def harmless(html: str) -> Page:
    """A page or a part of one, in which no foreign text became markup and nothing unseen is left."""
    page = Page(html)
    for tag, attributes in page.elements:
        assert tag not in {"script", "style", "iframe", "object", "embed"} or "src" in attributes, (
            tag,
            attributes,
        )
        assert tag != "img"
        assert not [name for name in attributes if name.startswith("on") or name == "style"], (tag, attributes)
    assert not {char for char in html if char not in "\n\t" and unicodedata.category(char)[0] == "C"}
    return page
