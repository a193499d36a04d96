"""A database as a server left it, with one of everything that the command line shows."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import Connection, insert

from orchestrator.db import Database
from orchestrator.qg.verdict import Item
from orchestrator.store.payload import packed
from orchestrator.store.schema import agent_runs, events, tasks
from support import FIXTURES

AT = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
KEY = "ENDURO-1"
LOG = FIXTURES / "claude" / "success__permissions_denied.jsonl"


def settings(folder: Path) -> dict[str, str]:
    """Of somebody at whose address nobody listens."""
    return {"ORCH_DATA_DIR": str(folder), "ORCH_PORT": "9", "ORCH_CONFIG": str(folder / "orchestrator.yaml")}


def leave(folder: Path, *, title: str = "GPX import", log: Path = LOG, is_over: bool = True) -> Path:
    """The path of the database. Its task waits for an approver, after a run that ended or is at work."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "orchestrator.db"
    database = Database(f"sqlite:///{path}")
    database.open()
    database.close()
    engine = database._write_engine
    with engine.begin() as connection:
        _fill(connection, title, log, is_over=is_over)
    engine.dispose()
    return path


def _fill(connection: Connection, title: str, log: Path, *, is_over: bool) -> None:
    waiting = [Item("approval", (("documents", title), ("have", "0"), ("needed", "1")), who="approver")]
    connection.execute(
        insert(tasks).values(
            plane_id="ab19bd34-ba7e-4b2d-81f2-b5d47f1a20da",
            plane_project_id="df602150-b31b-4706-9b31-c91c962460d7",
            repo="acme/enduro-trails",
            branch="feature/ENDURO-1-gpx",
            base_branch="main",
            stage="analysis",
            created_at=AT,
            updated_at=AT,
            key=KEY,
            title=title,
            agent_running=not is_over,
            waiting=msgspec.json.encode(waiting).decode(),
        )
    )
    connection.execute(insert(agent_runs).values(**_run(title, log, is_over=is_over)))
    connection.execute(
        insert(events).values(
            timestamp=AT,
            source="plane",
            event_type="issue",
            action=title[:80],
            payload=packed(b"{}"),
            processed=1,
            body_sha256="ab" * 32,
            task_id=1,
        )
    )


def _run(title: str, log: Path, *, is_over: bool) -> Mapping[str, Any]:
    ended = {
        "state": "ended",
        "outcome": "denied",
        "reason": "tools_denied",
        "detail": title,
        "finished_at": AT + timedelta(seconds=90),
        "denials": json.dumps([title]),
    }
    return {
        "task_id": 1,
        "agent": "analyst",
        "started_at": AT,
        "output_path": str(log),
        "stage": "analysis",
        "attempt": 1,
        "state": "running",
        "intended_at": AT,
        "session_id": "ab19bd34-ba7e-4b2d-81f2-b5d47f1a20db",
        "base_sha": "ab" * 20,
        "turns": 4,
        "input_tokens": 11_000,
        "output_tokens": 524,
        "cost_usd": 0.02724,
        **(ended if is_over else {}),
    }
