"""A team at work: what people and build servers do in Plane and Gitea, and what they see of it there.

A story acts through the simulators' doors (webhooks and HTTP) and looks at what stands in Plane, Gitea and git,
and at the orchestrator's own answers. Nothing is patched.
"""

import random
import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import Connection, inspect

import warm
from orchestrator.db import Database
from orchestrator.domain.model import TaskId
from orchestrator.domain.roles import DocumentName, Language
from orchestrator.sim import writings
from orchestrator.sim.gitea_people import People
from orchestrator.sim.webhook import load_recorded
from orchestrator.sim.world import ITEM, PROJECT, REPO, Service, World
from orchestrator.store import canonical, decisions
from orchestrator.workflow.decide import decide
from support import FIXTURES, Changes, query, until

APPROVER, STRANGER, GUEST, OURSELVES = "alice", "bob", "carol", "orchestrator"
PERSON = "boss"
"""Who pushes, reviews and merges on the forge."""
CONTEXT = "ci/test"
FAST = {
    "ORCH_WAKE_MERGE_S": "0.1",
    "ORCH_RESYNC_INTERVAL_S": "1",
    "ORCH_PLANE_CALLS_PER_MINUTE": "6000",
    "ORCH_POLL_INTERVAL_S": "5",
    "ORCH_RETRY_PAUSE_S": "0.2",
}
LIMIT_S = 60.0
BRANCH = "feature/ENDURO-1-marshrut-import-gpx-b-quotes"
"""Of the recorded work item."""
FOLDER = "tasks/ENDURO-1"
TASK_FILES = {"analyst": ".task.md", "architect": ".task-arch.md", "developer": ".task-dev.md"}


@dataclass(slots=True)
class Team:
    """One work item's story. `item` and `key` may be another than the recorded one."""

    world: World
    service: Service
    client: httpx.Client
    people: People = field(init=False)
    item: str = ITEM
    key: str = "ENDURO-1"
    changes: Changes = field(init=False)
    _told: tuple[tuple[str, object], dict[str, Any]] = field(default=(("", None), {}), init=False)

    def __post_init__(self) -> None:
        self.people = People(self.world.gitea)
        self.changes = Changes(self.service)

    # what people do in Plane

    def begin(self, title: str = "", text: str = "<p>Please.</p>") -> None:
        """A new work item; without a title it is the recorded one, with its recorded delivery."""
        if not title:
            assert self.world.post_recorded(self.service, "issue__created__rest").status_code == 200
            return
        values = {"name": title, "description_html": text}
        row = self.world.plane.create_work_item(PROJECT, values, APPROVER)
        self.item, self.key = row["id"], f"ENDURO-{row['sequence_id']}"

    def say(self, html: str, by: str = APPROVER) -> str:
        return str(self.world.plane.add_comment(self.item, {"comment_html": html}, by)["id"])

    def write_all(self) -> str:
        """People write every document and the code before the work item is there: agents have nothing to add."""
        named = {"key": "ENDURO-1", "title": "GPX", "code": "src/enduro_1.py", "test": "tests/test_enduro_1.py"}
        texts = {
            name: writings.TEXTS[name][Language.RU].format(**named, module="enduro_1") for name in DocumentName
        }
        texts[DocumentName.DEV_TASK] += writings.READY[Language.RU]
        files = {f"{FOLDER}/{name.value.upper()}.md": text for name, text in texts.items()}
        code = writings.CODE.format(**named, module="enduro_1")
        return self.people.commit(REPO, BRANCH, {**files, "src/enduro_1.py": code}, PERSON)

    def approve(self, by: str = APPROVER) -> str:
        return self.say("<p>:approved:</p>", by)

    def reject(self, why: str, by: str = APPROVER) -> str:
        return self.say(f"<p>:rejected: {why}</p>", by)

    # what people and build servers do in Gitea

    def check(self, state: str = "success", *, head: str = "", context: str = CONTEXT, by: str = PERSON) -> None:
        self.people.post_status(REPO, head or self.head, by, context, state)

    def push(self, files: Mapping[str, str], by: str = PERSON) -> str:
        return self.people.commit(REPO, self.branch, files, by)

    # what one sees

    def task(self) -> dict[str, Any]:
        """As the API tells it. Asked again only when something was stored since, or some time has passed."""
        now = (self.key, self.changes.mark())
        if self._told[0] != now:
            answer = self.client.get(f"/api/v1/tasks/{self.key}")
            self._told = (now, dict(answer.json()) if answer.status_code == 200 else {})
        return self._told[1]

    def heard(self) -> None:
        """Every delivery so far has been answered and looked at."""
        self.world.plane.courier.settle()
        self.world.gitea.courier.settle()
        until(lambda: not query(self.service, "SELECT id FROM events WHERE processed = 0"), "every event was seen")

    def all_is_written(self) -> None:
        """What was decided so far stands in Plane and Gitea: it is written after the decision, a moment later."""
        until(lambda: not query(self.service, "SELECT 1 FROM effects WHERE done_at IS NULL"), "all is written")

    def has_seen(self, comment: str) -> bool:
        """The orchestrator has read the comment."""
        sights = query(self.service, "SELECT payload FROM events WHERE event_type = 'comment_seen'")
        return any(comment in str(row[0]) for row in sights)

    def task_file(self, number: int = -1) -> str:
        """What the agent of a run was told, the newest unless said otherwise."""
        run = self.task()["runs"][number]
        folder = self.service.root / "data" / "runs" / str(run["id"]) / "workspace"
        return (folder / TASK_FILES[run["role"]]).read_text(encoding="utf-8")

    def codes(self) -> set[str]:
        return {item["code"] for item in self.task().get("waiting", [])}

    def started(self) -> list[str]:
        """Roles in the order in which their runs were intended."""
        return [run["role"] for run in self.task().get("runs", [])]

    @property
    def branch(self) -> str:
        return str(self.task()["branch"])

    @property
    def head(self) -> str:
        return self.world.gitea.head(REPO, self.branch) or ""

    @property
    def pull(self) -> Any:
        """The simulator's newest pull request of the branch, or None."""
        pulls = [one for one in self.world.gitea.repos[REPO].pulls.values() if one.head == self.branch]
        return pulls[-1] if pulls else None

    def own(self) -> dict[str, str]:
        """Our own comments on the work item as HTML, by their keys; oldest first."""
        ours = self.world.plane.user(OURSELVES).id
        rows = [row for row in self.in_plane.comments.values() if row["issue"] == self.item]
        return {
            row["external_id"].partition("~")[0]: row["comment_html"]
            for row in rows
            if row["actor"] == ours and row["external_id"]
        }

    def comments(self) -> list[str]:
        return list(self.own().values())

    def sticky(self) -> str:
        """The comment that is edited in place; empty while there is none."""
        return self.own().get(f"{self.key}:standing", "")

    @property
    def in_plane(self) -> Any:
        """The simulator's project."""
        return next(home.projects[PROJECT] for home in self.world.plane.workspaces.values())

    @property
    def state(self) -> str:
        """The name of the state in which the work item stands."""
        return str(self.in_plane.states[self.in_plane.items[self.item]["state"]]["name"])

    def reviews(self) -> list[tuple[str, str]]:
        """Who reviewed the pull request, and how; oldest first."""
        return [(row["user"]["login"], row["state"]) for row in self.pull.reviews] if self.pull else []

    def gate_status(self) -> dict[str, Any]:
        """The newest commit status of ours at the head; empty while there is none."""
        found = [one["row"] for one in self.world.gitea.repos[REPO].statuses if one["sha"] == self.head]
        return next((row for row in reversed(found) if row["context"] == "orchestrator/gate"), {})

    # waiting, bounded

    def reaches(self, stage: str, limit_s: float = LIMIT_S) -> dict[str, Any]:
        return until(lambda: (task := self.task()).get("stage") == stage and task, f"stage {stage}", limit_s)

    def waits_for(self, code: str, stage: str = "", limit_s: float = LIMIT_S) -> dict[str, Any]:
        """The task at rest, with this among the reasons."""

        def look() -> dict[str, Any]:
            task = self.task()
            is_there = code in {item["code"] for item in task.get("waiting", [])}
            return task if is_there and not task["agent_running"] and stage in {"", task["stage"]} else {}

        return until(look, f"waits for {code} {stage}", limit_s)

    # what operators do

    def restart(self) -> None:
        """At the same address, so that those who tell us things find us again."""
        self.client.close()
        self.service.stop()
        self.service.environ = {**self.service.environ, "ORCH_PORT": self.service.url.rpartition(":")[2]}
        self.service.start()
        self.client = self.service.client()

    # a stretch of the way

    def begin_written(self, stage: str) -> None:
        """People wrote everything; then as `approved_until`. Much quicker than to wait for three agents."""
        self.write_all()
        self.begin()
        self.approved_until(stage)

    def approved_until(self, stage: str) -> None:
        """Approves each document as it is asked for, makes checks green, until the stage is reached."""
        self.waits_for("approval", "analysis")
        self.approve()
        if stage == "architecture":
            return
        self.waits_for("approval", "architecture")
        self.approve()
        if stage == "development":
            return
        self.waits_for("check_missing", "ci")
        if stage == "ci":
            return
        self.check()
        self.reaches(stage)


PORTS = range(20_000, 32_000)
"""Below those that the kernel gives to connections: one of these would take a port while its service restarts."""


def free_port() -> int:
    """So that a service that is started again has its old address."""
    for _ in PORTS:
        with suppress(OSError), socket.create_server(("127.0.0.1", random.SystemRandom().choice(PORTS))) as server:
            return int(server.getsockname()[1])
    raise RuntimeError(f"No port of {PORTS} is free.")


@contextmanager
def at_work(
    world: World,
    claude: Path,
    *,
    is_told: bool = True,
    contexts: tuple[str, ...] = (CONTEXT,),
    config: str = "",
    approvers: tuple[str, ...] = (APPROVER,),
    **environ: str,
) -> Iterator[Team]:
    """A service in a world whose base branch asks for `contexts`. `is_told`: webhooks are sent. `config` are more
    lines of the project in orchestrator.yaml; a setting in `environ` that is empty is left out. When the story was
    told, all its decisions are made once more; there are some.
    """
    world.plane.rate_per_minute = 6000
    world.project_lines = tuple(config.splitlines())
    world.approvers = tuple(world.plane.user(name).id for name in approvers)
    team_environ = {
        name: value
        for name, value in {**world.settings(claude), **FAST, "ORCH_PORT": str(free_port()), **environ}.items()
        if value
    }
    with Service(world.root, team_environ, starter=warm.started) as service, ExitStack() as ends:
        team = Team(world, service, service.client())
        ends.callback(lambda: team.client.close())  # noqa: PLW0108 - a restart makes another client
        ends.callback(team.changes.close)
        team.people.protect(REPO, contexts)
        if is_told:
            world.connect(service)
            secret = load_recorded(FIXTURES / "plane" / "issue__created__rest.json").secret
            world.plane.add_webhook(f"{service.url}/webhook/plane", secret)
        yield team
    assert decided_again(service.root / "data" / "orchestrator.db") > 0


def decided_again(file: Path) -> int:
    """How many decisions are stored; each, made again from what is stored with it, gives the same bytes."""
    database = Database(f"sqlite:///{file}")
    stored = database.read_now(of_all_tasks)
    database.close()
    for one in stored:
        again = decide(one.basis.project, one.basis.task, one.basis.facts)
        assert (canonical.encode(again), canonical.encode(again.verdicts)) == (one.decision, one.verdicts)
        assert decisions.config_digest(one.basis.project) == one.config_digest
    return len(stored)


def of_all_tasks(connection: Connection) -> list[decisions.Stored]:
    """None in a file that was not begun."""
    if not inspect(connection).has_table("decisions"):
        return []
    tasks = connection.exec_driver_sql("SELECT DISTINCT task_id FROM decisions").scalars()
    return [one for task in tasks for one in decisions.of_task(connection, TaskId(task))]
