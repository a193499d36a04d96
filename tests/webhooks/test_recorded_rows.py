"""Every recording through the app and into the journal: its row says what came, and a changed byte leaves none."""

import hashlib
import json
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Connection, text

import counted
from orchestrator import main
from orchestrator.config import load
from orchestrator.configfile import Directory
from orchestrator.db import Database
from orchestrator.sim.webhook import Recorded, load_recorded
from orchestrator.store.payload import unpacked
from support import FIXTURES

NAMES = {source: sorted(path.stem for path in (FIXTURES / source).glob("*.body")) for source in ("plane", "gitea")}
PLANE_NAMES = {
    "workitem": "issue",
    "work_item": "issue",
    "workitem.comment": "issue_comment",
    "comment": "issue_comment",
}
"""What the names of v2 and of the specification mean."""


@pytest.fixture
def app(tmp_path: Path) -> main.Orchestrator:
    """The whole, as `orch serve` builds it; no project is mapped and no engine runs."""
    files = {}
    for source, names in NAMES.items():
        secrets = {load_recorded(FIXTURES / source / name).secret for name in names}
        file = tmp_path / source
        file.write_text("\n".join(sorted(secrets)))
        files[f"ORCH_{source.upper()}_WEBHOOK_SECRET_FILE"] = str(file)
    return main.build(load({"ORCH_DATA_DIR": str(tmp_path / "data"), **files}, None), Directory())


@pytest.fixture
async def client(app: main.Orchestrator) -> AsyncIterator[httpx.AsyncClient]:
    app.database.open()
    transport = httpx.ASGITransport(main.asgi(app))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8500") as one:
        yield one
    await app.database.aclose()


async def post(client: httpx.AsyncClient, source: str, it: Recorded, body: bytes | None = None) -> tuple[int, str]:
    """The status of the answer, and its one word. `body` instead of the one that was signed."""
    headers = {name: value for name, value in it.headers.items() if name.lower() != "content-length"}
    answer = await client.post(f"/webhook/{source}", content=body or it.body, headers=headers)
    return answer.status_code, answer.json()["status"]


def rows(database: Database) -> list[Mapping[str, Any]]:
    def read(connection: Connection) -> list[Mapping[str, Any]]:
        return [dict(row) for row in connection.execute(text("SELECT * FROM events ORDER BY id")).mappings()]

    return database.read_now(read)


def meant(source: str, it: Recorded) -> tuple[str, str]:
    """Event type and action, as headers and body say it without our parser."""
    headers = {name.lower(): value for name, value in it.headers.items()}
    body = json.loads(it.body)
    if source == "gitea":
        return headers["x-gitea-event-type"], body.get("action", "")
    if "action" in body:
        return body["event"], body["action"]
    said = body["event"] if "." in body["event"] and "Scope" not in body["event"] else headers["x-plane-event"]
    name, _, action = said.rpartition(".")
    return PLANE_NAMES[name], action


def identity(it: Recorded) -> str:
    """What a repeat has in common with the first: the event_id in v2, which has a new body; else every byte."""
    return str(json.loads(it.body).get("event_id") or hashlib.sha256(it.body).hexdigest())


def kept(it: Recorded) -> dict[str, str]:
    """What of the headers may be stored: never a signature."""
    named = {name.lower(): value for name, value in it.headers.items()}
    prefixes = ("x-plane-", "x-gitea-", "x-forgejo-")
    stored = {"user-agent", "content-type"} | {name for name in named if name.startswith(prefixes)}
    return {name: named[name] for name in stored if name in named and not name.endswith("-signature")}


@pytest.mark.parametrize("source", NAMES)
async def test_each_recording_becomes_the_row_that_it_should(
    app: main.Orchestrator, client: httpx.AsyncClient, source: str
) -> None:
    seen: Counter[str] = Counter()
    for name in NAMES[source]:
        it = load_recorded(FIXTURES / source / name)
        before = rows(app.database)
        seen[identity(it)] += 1
        is_repeat = seen[identity(it)] > 1
        assert await post(client, source, it) == (200, "duplicate" if is_repeat else "accepted"), name
        added = rows(app.database)[len(before) :]
        if is_repeat:
            assert added == [], name
            continue
        (row,) = added
        headers = {key.lower(): value for key, value in it.headers.items()}
        assert (row["source"], row["event_type"], row["action"]) == (source, *meant(source, it)), name
        assert row["delivery_id"] == headers[f"x-{source}-delivery"], name
        assert (row["flag"], row["repeats"]) == (None, 0), name
        assert row["body_sha256"] == hashlib.sha256(it.body).hexdigest(), name
        assert unpacked(row["payload"]) == it.body, name
        assert dict(json.loads(row["headers"])) == kept(it), name
        body = json.loads(it.body)
        assert row["event_id"] == (body.get("event_id") if body.get("version") == "v2" else None), name
        assert row["processed"] == int(row["ignored"] is not None) == int(row["task_id"] is None), name
    stored = rows(app.database)
    assert {row["event_id"] or row["body_sha256"]: row["repeats"] + 1 for row in stored} == seen
    counted.said(f"{source}: {len(NAMES[source])} recordings, {len(stored)} rows")


@pytest.mark.parametrize("source", NAMES)
async def test_one_changed_byte_of_any_recording_is_401_and_leaves_no_row(
    app: main.Orchestrator, client: httpx.AsyncClient, source: str
) -> None:
    for name in NAMES[source]:
        it = load_recorded(FIXTURES / source / name)
        for place in (0, len(it.body) // 2, len(it.body) - 1):
            spoiled = bytearray(it.body)
            spoiled[place] ^= 1
            assert await post(client, source, it, bytes(spoiled)) == (401, "rejected"), (name, place)
    assert rows(app.database) == []
