"""Old folders go, with the rows as they are in the database; what is told is what is left."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import Connection, insert, update

from orchestrator.agents.folders import Room, RunFolders
from orchestrator.db import Database
from orchestrator.domain.model import RepoName, RunId, Sha, Stage
from orchestrator.domain.roles import Role
from orchestrator.domain.run import Outcome, RunResult
from orchestrator.reconcile.tidy import Tidy
from orchestrator.store import runs, tasks
from orchestrator.store.schema import agent_runs
from orchestrator.store.schema import tasks as tasks_table
from orchestrator.store.tasks import Posted
from orchestrator.workflow.keeping import Keeping

LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


class Today:
    def now(self) -> datetime:
        return LONG_AGO + timedelta(days=100)

    def monotonic(self) -> float:
        return 0.0


def make_run(connection: Connection, folder: Path, *, head: str | None, ends: bool = True) -> int:
    """A developer's attempt of a task of its own, which stands at development."""
    posted = Posted(Role.DEVELOPER, RepoName.parse("acme/shop"), "t", "b", "main")
    task = tasks.post(connection, posted, LONG_AGO)
    connection.execute(update(tasks_table).where(tasks_table.c.id == task.id).values(stage=Stage.DEVELOPMENT))
    row = {
        "task_id": task.id, "agent": Role.DEVELOPER, "stage": Stage.DEVELOPMENT, "attempt": 1, "state": "running",
        "session_id": f"00000000-0000-4000-8000-{task.id:012}", "base_sha": "1" * 40, "intended_at": LONG_AGO,
    }  # fmt: skip
    ident = int(connection.execute(insert(agent_runs).returning(agent_runs.c.id), row).scalar_one())
    if ends:
        result = RunResult(Outcome.SUCCEEDED if head else Outcome.LOST, 0)
        runs.ended(connection, RunId(ident), result, Sha(head) if head else None, LONG_AGO)
    workspace = folder / "runs" / str(ident) / "workspace"
    workspace.mkdir(parents=True)
    (workspace / "f").write_bytes(b"x" * 100_000)
    (workspace.parent / "stdout.jsonl").write_bytes(b"x" * 100_000)
    return ident


async def tidied(database: Database, folder: Path, most_bytes: int = 0) -> tuple[set[str], set[str], Room]:
    """Which workspaces and which folders are left."""
    folders, room = RunFolders(folder), Room(most_bytes)
    tidy = Tidy(
        database,
        Today(),
        Keeping(timedelta(days=14), most_bytes),
        folders.sizes,
        lambda one: folders.discard(one.run, is_whole=one.is_whole),
        room.measured,
    )
    assert await tidy.once() == room.used_bytes
    left = [path for path in (folder / "runs").iterdir() if path.name.isdecimal()]
    return {path.name for path in left if (path / "workspace").exists()}, {path.name for path in left}, room


async def test_published_work_goes_and_what_is_nowhere_else_or_alive_stays(
    database: Database, tmp_path: Path
) -> None:
    def make(connection: Connection) -> list[int]:
        return [
            make_run(connection, tmp_path, head="2" * 40),
            make_run(connection, tmp_path, head=None),
            make_run(connection, tmp_path, head=None, ends=False),
        ]

    published, unpublished, alive = map(str, await database.write(make))
    workspaces, folders, room = await tidied(database, tmp_path)
    assert workspaces == {unpublished, alive}
    assert folders == {published, unpublished, alive}
    assert 500_000 < room.used_bytes < 600_000
    assert not room.is_full


async def test_above_the_limit_wanted_work_still_stays_and_the_rest_is_told(
    database: Database, tmp_path: Path
) -> None:
    def make(connection: Connection) -> list[int]:
        return [make_run(connection, tmp_path, head=head) for head in ("2" * 40, None)]

    _, unpublished = map(str, await database.write(make))
    workspaces, folders, room = await tidied(database, tmp_path, 150_000)
    assert workspaces == folders == {unpublished}
    assert room.is_full
