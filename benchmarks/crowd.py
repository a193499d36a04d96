"""Thousands of open tasks, all like one that went its way: its rows, its work item, its branch many times over."""

import contextlib
import hashlib
import re
import sqlite3
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec

from benchmarks import neighbours
from orchestrator.sim.gitea import BareGit
from orchestrator.sim.plane import Project
from orchestrator.sim.team import project_of
from orchestrator.sim.world import PROJECT, REPO, World
from orchestrator.sim.wrapper import write_wrapper

LIMIT_S = 60.0
SIGHTS_FROM = 1_000_000
_SEEN = re.compile(r'"seen":\d+')
"""The number of the event that tells of the first sight of a document."""
UNLIMITED = 1_000_000
PAUSE_S = 0.05
DOCUMENT_SEEN = "document_seen"
_LAST = "SELECT * FROM {table} WHERE task_id = ? ORDER BY {order} DESC LIMIT 1"
_TABLES = (("agent_runs", "id"), ("decisions", "id"), ("observations", "task_id"), ("effects", "id"))
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Member:
    """One of the crowd. `words` are the pattern's words with its own, the longer ones first."""

    task: int
    item: str
    key: str
    branch: str
    words: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def sight(self) -> int:
        """The event of the first sight of its document."""
        return SIGHTS_FROM + self.task

    def said(self, value: object) -> Any:
        """In one pass: ENDURO-5 is a part of its branch, and of ENDURO-50."""
        if not isinstance(value, str):
            return value
        return re.sub("|".join(map(re.escape, self.words)), lambda found: self.words[found[0]], value)


@dataclass(frozen=True, slots=True)
class Pattern:
    """A task at rest at its first gate, as the service itself left it."""

    member: Member
    head: str
    rows: Mapping[str, Row] = field(repr=False)


def file_of(made: World) -> Path:
    return made.root / "data" / "orchestrator.db"


def gathered(made: World, count: int) -> list[Member]:
    """So many tasks wait for approval of their first document. No service may be running."""
    pattern = _pattern(made)
    members = [_named(pattern, number) for number in range(count)]
    heads = _branched(made, pattern, members)
    members = [replace(one, words={**one.words, pattern.head: heads[one.branch]}) for one in members]
    with contextlib.closing(sqlite3.connect(file_of(made))) as connection:
        connection.execute("PRAGMA synchronous=OFF")
        for table in pattern.rows:
            _insert(connection, table, (_row(table, pattern.rows[table], one) for one in members))
        connection.commit()
    _itemised(made, pattern, members)
    return members


def _pattern(made: World) -> Pattern:
    """By a service with a scripted agent; its Plane takes any rate meanwhile."""
    rate, made.plane.rate_per_minute = made.plane.rate_per_minute, UNLIMITED
    with neighbours.service(made, write_wrapper(made.root / "pattern-claude")) as service:
        made.connect(service, plane=True)
        item = str(made.plane.create_work_item(PROJECT, {"name": "One of many"}, "alice")["id"])
        until = time.monotonic() + LIMIT_S
        while not (task := _at_rest(made)):
            if time.monotonic() > until:
                raise TimeoutError("The pattern's task did not come to its first gate.")
            time.sleep(PAUSE_S)
    unconnect(made)
    made.plane.rate_per_minute = rate
    first = Member(task["id"], item, task["key"], task["branch"])
    return Pattern(first, task["head_sha"], _rows_of(made, task))


def unconnect(made: World) -> None:
    """Nobody is told of anything any more."""
    for home in made.plane.workspaces.values():
        home.webhooks.clear()
    made.gitea.repos[REPO].hooks.clear()


def _at_rest(made: World) -> Row:
    with _reading(made) as connection:
        rows = connection.execute("SELECT * FROM tasks WHERE waiting LIKE '%\"approval\"%'").fetchall()
        due = connection.execute("SELECT count(*) FROM effects WHERE done_at IS NULL").fetchone()[0]
    return dict(rows[0]) if rows and not due else {}


def _rows_of(made: World, task: Row) -> dict[str, Row]:
    with _reading(made) as connection:
        last = {
            table: dict(connection.execute(_LAST.format(table=table, order=order), (task["id"],)).fetchone())
            for table, order in _TABLES
        }
        sight = "SELECT * FROM events WHERE task_id = ? AND event_type = ? ORDER BY id DESC LIMIT 1"
        event = dict(connection.execute(sight, (task["id"], DOCUMENT_SEEN)).fetchone())
    return {"tasks": task, "events": event, **last}


@contextlib.contextmanager
def _reading(made: World) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(file_of(made), timeout=10)) as connection:
        connection.row_factory = sqlite3.Row
        yield connection


def _named(pattern: Pattern, number: int) -> Member:
    first = pattern.member
    prefix, _, sequence = first.key.rpartition("-")
    key, item = f"{prefix}-{int(sequence) + 1 + number}", str(uuid.uuid4())
    branch = first.branch.replace(first.key, key)
    words = {first.item: item, first.branch: branch, first.key: key}
    return Member(first.task + 1 + number, item, key, branch, words)


def _branched(made: World, pattern: Pattern, members: Sequence[Member]) -> dict[str, str]:
    """A branch for each with the same document in a folder of its own; the heads by branch."""
    git = made.gitea.repos[REPO].git
    base = git.run("rev-parse", "refs/heads/main").decode().strip()
    (entry,) = git.tree(pattern.head, f"tasks/{pattern.member.key}/BRD.md")
    git.run("fast-import", "--quiet", stdin=b"".join(_commit(one, base, entry[2]) for one in members))
    git.run("pack-refs", "--all")
    return _heads(git)


def _commit(one: Member, base: str, blob: str) -> bytes:
    lines = (
        f"commit refs/heads/{one.branch}",
        "committer Crowd <crowd@example.test> 1760000000 +0000",
        "data 0",
        f"from {base}",
        f"M 100644 {blob} tasks/{one.key}/BRD.md",
    )
    return "\n".join((*lines, "", "")).encode()


def _heads(git: BareGit) -> dict[str, str]:
    return {ref.removeprefix("refs/heads/"): sha for ref, sha in git.refs("refs/heads/feature/").items()}


def _row(table: str, row: Row, one: Member) -> Row:
    """The pattern's row as this one's. Ids of rows that nobody names are given by the database."""
    new = {name: one.said(value) for name, value in row.items() if name != "id"}
    match table:
        case "tasks":
            return new | {"id": one.task}
        case "observations":
            new |= {"facts": _SEEN.sub(f'"seen":{one.sight}', new["facts"])}
        case "agent_runs":
            new |= {"session_id": str(uuid.uuid4())}
        case "effects":
            new |= {"key": f"{one.task}:{row['key'].partition(':')[2]}"}
        case "events":
            seen = msgspec.json.decode(row["payload"]) | {"task": one.task}
            payload = msgspec.json.encode(seen).decode()
            new |= {"id": one.sight, "payload": payload, "body_sha256": _sha256([DOCUMENT_SEEN, seen])}
    return new | {"task_id": one.task}


def _sha256(value: object) -> str:
    return hashlib.sha256(msgspec.json.encode(value)).hexdigest()


def _insert(connection: sqlite3.Connection, table: str, rows: Iterable[Row]) -> None:
    """The decided digest is that of the decision's own text, in which the words stand already."""
    for row in rows:
        columns, marks = ", ".join(row), ", ".join("?" * len(row))
        connection.execute(f"INSERT INTO {table} ({columns}) VALUES ({marks})", list(row.values()))
        if table == "decisions":
            digest = hashlib.sha256(row["decision"].encode()).hexdigest()
            connection.execute("UPDATE tasks SET decided = ? WHERE id = ?", (digest, row["task_id"]))


def _itemised(made: World, pattern: Pattern, members: Sequence[Member]) -> None:
    """The work items and our comments on them, older than all that a resync looks for."""
    plane, first = made.plane, pattern.member.item
    project: Project = project_of(plane, first)
    with plane.lock:
        item = project.items[first] | {"updated_at": project.items[first]["created_at"]}
        ours = next(row for row in project.comments.values() if row["issue"] == first)
        for one in members:
            project.last_sequence += 1
            project.items[one.item] = item | {"id": one.item, "sequence_id": project.last_sequence}
            comment = str(uuid.uuid4())
            project.comments[comment] = {name: one.said(value) for name, value in ours.items()} | {"id": comment}
