"""A team at work: what people and build servers do in Plane and Gitea, and what they see of it there.

A story acts through the simulators' doors (webhooks and HTTP) and looks at what stands in Plane, Gitea and git,
and at the orchestrator's own answers. Nothing is patched.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from orchestrator.sim.gitea_people import People
from orchestrator.sim.webhook import load_recorded
from orchestrator.sim.world import ITEM, PROJECT, REPO, Service, World
from support import FIXTURES, until

APPROVER, STRANGER, GUEST, OURSELVES = "alice", "bob", "carol", "orchestrator"
PERSON = "boss"
"""Who pushes, reviews and merges on the forge."""
CONTEXT = "ci/test"
FAST = {
    "ORCH_WAKE_MERGE_S": "0.1",
    "ORCH_RESYNC_INTERVAL_S": "1",
    "ORCH_PLANE_CALLS_PER_MINUTE": "6000",
    "ORCH_POLL_INTERVAL_S": "5",
}
LIMIT_S = 60.0


@dataclass(slots=True)
class Team:
    """One work item's story. `item` and `key` may be another than the recorded one."""

    world: World
    service: Service
    client: httpx.Client
    people: People = field(init=False)
    item: str = ITEM
    key: str = "ENDURO-1"

    def __post_init__(self) -> None:
        self.people = People(self.world.gitea)

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
        answer = self.client.get(f"/api/v1/tasks/{self.key}")
        return dict(answer.json()) if answer.status_code == 200 else {}

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

    def comments(self) -> list[str]:
        """Our own comments on the work item, as HTML."""
        ours = self.world.plane.user(OURSELVES).id
        project = next(one for home in self.world.plane.workspaces.values() for one in home.projects.values())
        rows = [row for row in project.comments.values() if row["issue"] == self.item and row["actor"] == ours]
        return [row["comment_html"] for row in rows]

    def reviews(self) -> list[tuple[str, str]]:
        """Who reviewed the pull request, and how; oldest first."""
        return [(row["user"]["login"], row["state"]) for row in self.pull.reviews] if self.pull else []

    def gate_status(self) -> dict[str, Any]:
        """The newest commit status of ours at the head."""
        found = [one["row"] for one in self.world.gitea.repos[REPO].statuses if one["sha"] == self.head]
        return [row for row in found if row["context"] == "orchestrator/gate"][-1]

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

    # a stretch of the way

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


@contextmanager
def at_work(
    world: World, claude: Path, *, is_told: bool = True, contexts: tuple[str, ...] = (CONTEXT,), **environ: str
) -> Iterator[Team]:
    """A service in a world whose base branch asks for `contexts`. `is_told`: webhooks are sent."""
    world.plane.rate_per_minute = 6000
    team_environ = {**world.settings(claude), **FAST, **environ}
    with Service(world.root, team_environ) as service, service.client() as client:
        team = Team(world, service, client)
        team.people.protect(REPO, contexts)
        if is_told:
            world.connect(service)
            secret = load_recorded(FIXTURES / "plane" / "issue__created__rest.json").secret
            world.plane.add_webhook(f"{service.url}/webhook/plane", secret)
        yield team
