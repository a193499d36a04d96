"""A team in the middle of its week, for pictures: tasks at every stage, some stuck, and a month behind them.

What stands on the board was really told to the service: deliveries, scripted agents, approvals, checks. The month
before cannot be told in seconds, so its rows are written as the service would have written them.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, create_engine, delete, insert, select, update

from green import GREEN, PROJECT, TASK
from orchestrator.clock import SystemClock
from orchestrator.domain.model import Person, RunId, Stage, TaskId, UserId
from orchestrator.domain.roles import Language
from orchestrator.sim.world import APPROVER, World
from orchestrator.sim.wrapper import write_wrapper
from orchestrator.store import decisions, spending, stays
from orchestrator.store import tokens as token
from orchestrator.store.schema import UtcDateTime, agent_runs, events, tasks
from orchestrator.store.schema import decisions as table
from orchestrator.store.schema import stays as left
from orchestrator.workflow.decision import Decision
from stories.acts import at, green_until
from stories.team import Team, at_work
from support import FIXTURES, until

PATIENCE_S = 90.0
FIRST = 1000
"""Number of the first task of the month before."""
STRETCH = 400
DONE = (
    "Sign in with the club's account",
    "Warn when a trail crosses private land",
    "Show sunrise and sunset on the day plan",
    "Sort trails by distance from here",
    "Photos of a trail keep their direction",
    "Share a route by link",
    "Weather of the next three days on a trail",
    "Import from Strava",
    "Faster search in the list of trails",
    "Paging of comments",
    "Metres or feet, as the reader likes",
    "Mark water on the map",
    "A trail's history of closures",
    "Undo in the route editor",
)
TOKENS = (("ci", "operate", ""), ("alice-laptop", "operate", "alice"), ("screen-on-the-wall", "read", ""))
"""Name, scope and whom they speak for. The last is revoked."""
_ROLES = {
    Stage.ANALYSIS: ("analyst", 0.9),
    Stage.ARCHITECTURE: ("architect", 1.4),
    Stage.DEVELOPMENT: ("developer", 4.1),
    Stage.REVIEW: ("reviewer", 1.1),
    Stage.TESTING: ("tester", 0.8),
}
"""Who works at a stage, and about what it costs."""
_HOURS = {
    Stage.CREATED: 0.01,
    Stage.ANALYSIS: 9.0,
    Stage.ARCHITECTURE: 6.0,
    Stage.DEVELOPMENT: 1.5,
    Stage.CI: 0.4,
    Stage.REVIEW: 0.6,
    Stage.TESTING: 0.5,
    Stage.READY: 14.0,
}


@dataclass(frozen=True, slots=True)
class Town:
    """`stories` by what they are at."""

    stories: dict[str, Team]

    @property
    def url(self) -> str:
        return next(iter(self.stories.values())).service.url

    @property
    def gitea_url(self) -> str:
        return next(iter(self.stories.values())).world.gitea_url

    def newest_run(self, story: str) -> int:
        return int(self.stories[story].task()["runs"][-1]["id"])


@contextmanager
def town(folder: Path, language: Language = Language.EN, **environ: str) -> Iterator[Town]:
    claude = write_wrapper(folder / "claude")
    people = (Person(UserId(APPROVER), "alice", approver=True),)
    with (
        World(folder / "world", FIXTURES, language=language, people=people) as world,
        at_work(world, claude, **world.sign_in(), **environ) as team,
    ):
        stories = {name: _another(team) for name in _STORIES}
        for name, story in _STORIES.items():
            story(stories[name], folder / "claude")
        with _month(world.root / "data" / "orchestrator.db"):
            yield Town(stories)


def _another(team: Team) -> Team:
    return Team(team.world, team.service, team.client)


def _ready(team: Team, _claude: Path) -> None:
    team.begin("Import GPX tracks with waypoints", _brief("Riders come with tracks of other services."))
    _approved(team)
    green_until(team, at("ready"), PATIENCE_S)


def _sent_back(team: Team, _claude: Path) -> None:
    team.begin("Elevation profile on the trail page", _brief("Climbs decide who rides a trail.", "review_rejects"))
    _approved(team)
    green_until(team, lambda task: bool(task["returns"]), PATIENCE_S)


def _checked(team: Team, _claude: Path) -> None:
    team.begin("Limit public trail search to 60 requests a minute", _brief("Scrapers slow everybody down."))
    _approved(team)
    team.waits_for("check_missing", "ci", PATIENCE_S)


def _read(team: Team, _claude: Path) -> None:
    team.begin("Offline map tiles for a chosen area", _brief("There is no network in the woods."))
    team.waits_for("approval", "analysis", PATIENCE_S)


def _designed(team: Team, _claude: Path) -> None:
    team.begin("Merge duplicate trailheads", _brief("The same parking lot is there three times."))
    team.waits_for("approval", "analysis", PATIENCE_S)
    team.approve()
    team.waits_for("approval", "architecture", PATIENCE_S)


def _stuck(team: Team, _claude: Path) -> None:
    team.begin("Export a route as PDF", _brief("For those who like paper.", "output_missing"))
    team.waits_for("output_missing", limit_s=PATIENCE_S)


def _at_work(team: Team, claude: Path) -> None:
    """Its agent needs a while for each step, so that somebody can look on."""
    write_wrapper(claude, "slow:20")
    team.begin("Dark style of the map", _brief("Bright maps blind at night."))
    _until_it_runs(team)


_STORIES: dict[str, Callable[[Team, Path], None]] = {
    "ready": _ready,
    "sent back": _sent_back,
    "checked": _checked,
    "designed": _designed,
    "stuck": _stuck,
    "read": _read,
    "at work": _at_work,
}


def _brief(why: str, scenario: str = "") -> str:
    return f"<p>{why}</p>" + (f"<p>Scenario: {scenario}</p>" if scenario else "")


def _approved(team: Team) -> None:
    team.waits_for("approval", "analysis", PATIENCE_S)
    team.approve()
    team.waits_for("approval", "architecture", PATIENCE_S)
    team.approve()


def _until_it_runs(team: Team) -> None:
    until(lambda: any(run["turns"] or run["state"] == "running" for run in team.task().get("runs", [])), "it runs")


# the month before


@contextmanager
def _month(file: Path) -> Iterator[None]:
    """Its decisions are gone again at the end: nothing was decided, so they cannot be made once more."""
    engine = create_engine(f"sqlite:///{file}")
    chance, now = random.Random(7), SystemClock().now()
    try:
        with engine.begin() as connection:
            _stretch(connection, now)
            _tokens(connection, now)
            for number, title in enumerate(DONE):
                began = now - timedelta(days=29 - 2 * number, hours=chance.uniform(0, 9))
                _done(connection, FIRST + number, title, began, chance)
        yield
        with engine.begin() as connection:
            connection.execute(delete(table).where(table.c.task_id >= FIRST))
    finally:
        engine.dispose()


def _tokens(connection: Connection, now: datetime) -> None:
    for number, (name, scope, login) in enumerate(TOKENS):
        made = now - timedelta(days=29 - 5 * number)
        token.create(connection, name, scope, f"{number:064x}", made, login)
    token.mark_used(connection, [token.Use(1, now.date())])
    token.revoke(connection, TOKENS[-1][0], now - timedelta(days=2))


def _stretch(connection: Connection, now: datetime) -> None:
    """What took seconds took hours, but for the agent that is at work right now."""
    is_live = select(agent_runs.c.task_id).where(agent_runs.c.state != "ended")
    for one, owner in ((tasks, tasks.c.id), *((one, one.c.task_id) for one in (events, agent_runs, table, left))):
        times = [column for column in one.c if isinstance(column.type, UtcDateTime)]
        for row in connection.execute(select(one.c.id, *times).where(owner.not_in(is_live))).all():
            old = {column.name: getattr(row, column.name) for column in times}
            new = {name: now - (now - moment) * STRETCH for name, moment in old.items() if moment}
            connection.execute(update(one).where(one.c.id == row.id).values(new))


def _done(connection: Connection, ident: int, title: str, began: datetime, chance: random.Random) -> None:
    moments = _moments(began, chance)
    connection.execute(insert(tasks), _task_row(ident, title, moments))
    moved = list(moments.items())
    for stage in _ROLES:
        for attempt in range(1, 3 if chance.random() < 0.25 else 2):
            start = moments[stage] + timedelta(minutes=40 * (attempt - 1))
            made = insert(agent_runs).values(_run_row(ident, stage, attempt, start, chance))
            spending.add(connection, RunId(connection.execute(made.returning(agent_runs.c.id)).scalar_one()))
    for (stage, _), (_, until_then) in pairwise(moved):
        stays.left(connection, TaskId(ident), stage, "", until_then)
    for stage, moment in moments.items():
        task = replace(TASK, id=TaskId(ident), key=_key(ident), title=title)
        decision = Decision(stage)
        decisions.record(connection, [decisions.made(decisions.Basis(PROJECT, task, GREEN), decision)], moment)


def _key(ident: int) -> str:
    return f"ENDURO-{ident - FIRST + 140}"


def _moments(began: datetime, chance: random.Random) -> dict[Stage, datetime]:
    moments, moment = {}, began
    for stage, hours in _HOURS.items():
        moments[stage] = moment
        moment += timedelta(hours=hours * chance.uniform(0.3, 2.2))
    return {**moments, Stage.DONE: moment}


def _task_row(ident: int, title: str, moments: dict[Stage, datetime]) -> dict[str, Any]:
    return {
        "id": ident,
        "plane_id": f"{ident:032x}",
        "plane_project_id": str(PROJECT.id),
        "repo": str(TASK.repo),
        "key": _key(ident),
        "title": title,
        "branch": f"feature/ENDURO-{ident - FIRST + 140}",
        "base_branch": "develop",
        "stage": "done",
        "created_at": moments[Stage.CREATED],
        "updated_at": moments[Stage.DONE],
    }


def _run_row(ident: int, stage: Stage, attempt: int, start: datetime, chance: random.Random) -> dict[str, Any]:
    weight, (role, usd) = chance.uniform(0.5, 1.8), _ROLES[stage]
    return {
        "task_id": ident,
        "agent": role,
        "stage": stage.value,
        "attempt": attempt,
        "state": "ended",
        "intended_at": start,
        "admitted_at": start,
        "started_at": start,
        "finished_at": start + timedelta(minutes=9 * usd * weight),
        "session_id": f"{ident}-{stage}-{attempt}",
        "base_sha": "a" * 40,
        "outcome": "succeeded" if attempt == 2 or chance.random() < 0.8 else "failed",
        "turns": int(18 * usd * weight),
        "input_tokens": int(240_000 * usd * weight),
        "output_tokens": int(9_000 * usd * weight),
        "cost_usd": round(usd * weight, 4),
        "model": "claude-opus-5-5",
        "cli_version": "2.1.330",
        "sandbox": "landlock,seccomp",
    }
