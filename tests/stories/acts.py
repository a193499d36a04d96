"""More of what people and build servers do in a story, on the forge above all."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from orchestrator.sim.webhook import TRUSTS_NOBODY
from orchestrator.sim.world import REPO
from stories.team import LIMIT_S, PERSON, Team
from support import query, until

ITEM_READ = r"/work-items/[^/]*/(comments/)?"


def review(team: Team, event: str, why: str = "As said.", *, by: str = PERSON, at: str = "") -> int:
    """A person's review in the browser: APPROVED, REQUEST_CHANGES or COMMENT, of the head or of `at`."""
    token = team.world.gitea.add_token(by)
    url = f"{team.world.gitea_url}/api/v1/repos/{REPO}/pulls/{team.pull.number}/reviews"
    order = {"event": event, "body": why, "commit_id": at or team.head}
    answer = httpx.post(
        url, verify=TRUSTS_NOBODY, json=order, headers={"Authorization": f"token {token}"}, trust_env=False
    )
    assert answer.status_code == 200, answer.text
    return int(answer.json()["id"])


def green_until(
    team: Team, is_there: Callable[[dict[str, Any]], bool], limit_s: float = LIMIT_S
) -> dict[str, Any]:
    """A build server that makes every new head green, until the task looks as wanted."""
    done: set[str] = set()

    def look() -> dict[str, Any]:
        task = team.task()
        if "check_missing" in codes(task) and (head := team.head) not in done:
            done.add(head)
            team.check(head=head)
        return task if is_there(task) else {}

    return until(look, "the checks are green and the task is there", limit_s)


def at(stage: str, code: str = "") -> Callable[[dict[str, Any]], bool]:
    """At rest at the stage, for this reason among others."""

    def is_there(task: dict[str, Any]) -> bool:
        return task["stage"] == stage and not task["agent_running"] and (not code or code in codes(task))

    return is_there


def codes(task: dict[str, Any]) -> set[str]:
    return {item["code"] for item in task.get("waiting", [])}


def waiting(task: dict[str, Any], code: str) -> dict[str, Any]:
    """The reason with this code."""
    return next(item for item in task["waiting"] if item["code"] == code)


def asked(team: Team, method: str, path: str, *, of: str = "gitea") -> int:
    """How many calls of this kind the simulator has got; `path` is a pattern for its end."""
    sim = team.world.gitea if of == "gitea" else team.world.plane
    return sum(call.method == method and bool(re.search(f"{path}$", call.path)) for call in list(sim.calls))


def leaves_the_item_alone(team: Team, lists: int = 8) -> None:
    """Returns when Plane was asked for so many lists, two a resync at most, and not once for the work item."""

    def listed() -> int:
        return asked(team, "GET", "/work-items/", of="plane")

    def read() -> int:
        return asked(team, "GET", ITEM_READ, of="plane")

    def is_calm() -> bool:
        before, since = read(), listed()
        until(lambda: listed() > since + lists, "resyncs")
        return read() == before

    until(is_calm, "the work item is left alone", 30.0)


def pull_comments(team: Team) -> list[str]:
    """All comments of the pull request, oldest first."""
    return [row["body"] for row in team.pull.comments]


def document(team: Team, name: str) -> str:
    """A document of the task on its branch; empty when it is not there."""
    return (team.world.gitea.file_at(REPO, team.branch, f"tasks/{team.key}/{name}") or b"").decode()


def task_file(team: Team, role: str, name: str) -> str:
    """What the newest run of the role was told."""
    run = max(run["id"] for run in team.task()["runs"] if run["role"] == role)
    return (team.world.root / "data" / "runs" / str(run) / "workspace" / name).read_text(encoding="utf-8")


def bases(team: Team, role: str) -> list[str]:
    """The commits that the runs of a role began at."""
    ids = [run["id"] for run in team.task()["runs"] if run["role"] == role]
    rows = dict(query(team.service, "SELECT id, base_sha FROM agent_runs"))
    return [rows[ident] for ident in ids]


def logged(path: Path, event: str) -> list[str]:
    """Lines of the service's log with this event."""
    return [
        line
        for line in path.read_text(encoding="utf-8").splitlines()
        if f'"event": "{event}"' in line or f'"event":"{event}"' in line
    ]


def work_item(team: Team, title: str, text: str = "") -> None:
    """Begins another work item; `text` may name a scenario."""
    team.begin(title, f"<p>{text or 'Please.'}</p>")
