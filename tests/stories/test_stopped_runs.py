"""Runs that people stop, at work or waiting for their turn; and runs that nobody wants any more when it comes."""

import os
import signal
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from orchestrator.agents import supervise
from orchestrator.clock import SystemClock
from orchestrator.reconcile.execute import FRESH_S
from orchestrator.sim.world import REPO, World
from orchestrator.sim.wrapper import write_wrapper
from stories.team import PERSON, Team, at_work
from support import query, starts, until

STOP_LIMIT_S = 60.0
"""The ladder takes ten seconds at most; a busy machine may take longer to show it."""


def post(team: Team, title: str) -> str:
    order = {"repository": REPO, "role": "analyst", "task": "Describe it.", "title": title}
    return str(team.client.post("/api/v1/tasks", json=order).json()["key"])


def of(team: Team, key: str) -> dict[str, Any]:
    return dict(team.client.get(f"/api/v1/tasks/{key}").json())


def last_run(team: Team, key: str) -> dict[str, Any]:
    runs = of(team, key)["runs"]
    return dict(runs[-1]) if runs else {}


def is_at(team: Team, key: str, state: str, attempt: int = 1) -> bool:
    run = last_run(team, key)
    return run.get("state") == state and run["attempt"] == attempt


def codes(team: Team, key: str) -> set[str]:
    return {item["code"] for item in of(team, key)["waiting"]}


def has_waited(team: Team, run: int) -> bool:
    """Longer than a decision counts as fresh."""
    (row,) = query(team.service, f"SELECT intended_at FROM agent_runs WHERE id = {int(run)}")
    intended = datetime.fromisoformat(str(row[0])).replace(tzinfo=UTC)
    return SystemClock().now() > intended + timedelta(seconds=FRESH_S)


def test_a_task_that_waits_for_its_turn_is_cancelled_at_once_and_resumed_by_a_person(
    world: World, tmp_path: Path
) -> None:
    with at_work(world, write_wrapper(tmp_path / "claude", "hang"), ORCH_MAX_CONCURRENT_RUNS="1") as team:
        first, second = post(team, "First"), ""
        until(lambda: is_at(team, first, "running"), "the first is at work")
        second = post(team, "Second")
        until(lambda: is_at(team, second, "intended"), "the second waits for its turn")
        assert team.client.post(f"/api/v1/tasks/{second}/cancel").status_code == 202
        run = last_run(team, second)
        assert (run["state"], run["outcome"], run["started_at"]) == ("ended", "cancelled", None)
        until(lambda: codes(team, second) == {"cancelled"}, "the task says so")
        assert team.client.post(f"/api/v1/tasks/{second}/cancel").status_code == 202
        until(lambda: codes(team, second) == {"cancelled"}, "to whoever cancels it once more it says the same")
        assert is_at(team, first, "running")
        assert team.client.post(f"/api/v1/tasks/{second}/resume").status_code == 202
        until(lambda: "run_not_successful" in codes(team, second), "a cancelled run is no run to repeat by itself")
        assert team.client.post(f"/api/v1/tasks/{second}/retry").status_code == 202
        until(lambda: is_at(team, second, "intended", 2), "it waits for its turn again")
        assert team.client.post(f"/api/v1/runs/{last_run(team, first)['id']}/cancel").status_code == 202
        until(lambda: is_at(team, second, "running", 2), "its turn has come", STOP_LIMIT_S)
        assert last_run(team, first)["outcome"] == "cancelled"
        assert team.client.post(f"/api/v1/tasks/{second}/cancel").status_code == 202
        until(lambda: is_at(team, second, "ended", 2), "what is at work for a cancelled task ends", STOP_LIMIT_S)
        assert team.client.post("/api/v1/tasks/NONE-1/cancel").status_code == 404
        assert team.client.post("/api/v1/tasks/NONE-1/resume").status_code == 404


def test_what_changed_while_a_run_waited_for_its_turn_calls_it_off_and_costs_no_attempt(
    world: World, tmp_path: Path
) -> None:
    """F25: the facts are read again before an agent starts."""
    with at_work(world, write_wrapper(tmp_path / "claude", "hang"), ORCH_MAX_CONCURRENT_RUNS="1") as team:
        first = post(team, "First")
        until(lambda: is_at(team, first, "running"), "the first is at work")
        second = post(team, "Second")
        until(lambda: is_at(team, second, "intended"), "the second waits for its turn")
        waiting = last_run(team, second)["id"]
        head = team.people.commit(REPO, of(team, second)["branch"], {"news": "x"}, PERSON)
        until(lambda: has_waited(team, waiting), "what was decided is old")
        team.client.post(f"/api/v1/runs/{last_run(team, first)['id']}/cancel")
        until(lambda: is_at(team, second, "running", 2), "it was decided anew", STOP_LIMIT_S)
        called_off = of(team, second)["runs"][0]
        assert (called_off["outcome"], called_off["reason"]) == ("cancelled", "not_wanted")
        assert called_off["started_at"] is None
        assert query(team.service, f"SELECT base_sha FROM agent_runs WHERE id > {waiting}") == [(head,)]
        team.client.post(f"/api/v1/tasks/{second}/cancel")
        until(lambda: is_at(team, second, "ended", 2), "it is stopped", STOP_LIMIT_S)


SILENT = {"ORCH_RESYNC_INTERVAL_S": "600", "ORCH_POLL_INTERVAL_S": "600"}
"""What nobody tells is not found by looking around, while a story lasts."""


def merged(team: Team) -> None:
    team.people.merge(REPO, team.pull.number, PERSON)


def closed(team: Team) -> None:
    team.people.close(REPO, team.pull.number, PERSON)


def deleted(team: Team) -> None:
    team.world.plane.delete_work_item(team.item)


@pytest.mark.parametrize(
    ("end", "stage", "reason"),
    [
        (merged, "done", ""),
        pytest.param(closed, "review", "pull_request_closed", marks=pytest.mark.nightly),
        pytest.param(deleted, "review", "item_gone", marks=pytest.mark.nightly),
    ],
)
def test_what_ended_unheard_while_a_run_waited_for_its_turn_calls_it_off(
    world: World, tmp_path: Path, ledger: Path, end: Callable[[Team], None], stage: str, reason: str
) -> None:
    """F25: no delivery tells of it, so only the look before the start can see it."""
    claude = write_wrapper(tmp_path / "claude", "hang", ledger)
    with at_work(world, claude, ORCH_MAX_CONCURRENT_RUNS="1", **SILENT) as team:
        first = post(team, "First")
        until(lambda: is_at(team, first, "running"), "the first is at work")
        team.begin_written("ci")
        team.check()
        until(lambda: is_at(team, team.key, "intended"), "the reviewer waits for its turn")
        waiting = last_run(team, team.key)["id"]
        team.heard()
        team.all_is_written()
        world.gitea.lose_deliveries = world.plane.lose_deliveries = True
        end(team)
        until(lambda: has_waited(team, waiting), "what was decided is old")
        assert is_at(team, team.key, "intended"), "nobody has noticed"
        team.client.post(f"/api/v1/runs/{last_run(team, first)['id']}/cancel")
        until(lambda: is_at(team, team.key, "ended"), "it was called off", STOP_LIMIT_S)
        run = last_run(team, team.key)
        assert (run["role"], run["outcome"], run["started_at"]) == ("reviewer", "cancelled", None)
        assert run["reason"] in {"not_wanted", "cancelled"}, "called off, or ended by the look that saw it"
        until(lambda: team.task()["stage"] == stage and {reason} - {""} <= team.codes(), "the task says so")
        assert len(team.task()["runs"]) == 1
        assert len(starts(ledger)) == 1


def test_a_usage_limit_is_waited_for_also_by_a_service_that_starts_again(world: World, tmp_path: Path) -> None:
    with at_work(world, write_wrapper(tmp_path / "claude", "limit")) as team:
        key = post(team, "Limited")
        until(lambda: codes(team, key) == {"account_paused"}, "the limit is waited for")
        run, following = of(team, key)["runs"]
        assert (run["outcome"], run["reason"]) == ("usage_limit", "usage_limit_reached")
        resets = datetime.fromisoformat(run["resets_at"])
        assert resets > SystemClock().now()
        (told,) = of(team, key)["waiting"]
        until_when = datetime.strptime(told["params"]["until"], "%Y-%m-%d %H:%M %Z").replace(tzinfo=UTC)
        assert abs(until_when - resets) <= timedelta(minutes=1)
        assert (following["state"], following["started_at"]) == ("intended", None)
        team.restart()
        until(lambda: codes(team, key) == {"account_paused"}, "it is still waited for after a restart")
        assert [one["started_at"] is None for one in of(team, key)["runs"]] == [False, True]


def test_what_crashes_at_once_rests_more_and_more_shows_what_it_said_and_stops(
    world: World, tmp_path: Path
) -> None:
    """F13."""
    claude = tmp_path / "claude"
    claude.write_text("#!/bin/sh\necho 'the model was retired' >&2\nexit 3\n")
    claude.chmod(0o755)
    with at_work(world, claude, ORCH_MAX_ATTEMPTS="3") as team:
        key = post(team, "Crashing")
        until(lambda: "run_crashed" in codes(team, key), "it is parked")
        runs = of(team, key)["runs"]
        assert [run["outcome"] for run in runs] == ["crashed"] * 3
        assert "the model was retired" in of(team, key)["waiting"][0]["text"]
        ends = [datetime.fromisoformat(run["finished_at"]) for run in runs]
        starts = [datetime.fromisoformat(run["started_at"]) for run in runs]
        assert starts[2] - ends[1] >= timedelta(seconds=0.2)


def test_a_lost_run_is_gone_on_with(world: World, tmp_path: Path) -> None:
    with at_work(world, write_wrapper(tmp_path / "claude", "long_tool")) as team:
        key = post(team, "Lost")
        until(lambda: is_at(team, key, "running"), "it is at work")
        until(lambda: last_run(team, key)["turns"], "it has done something")
        assert last_run(team, key)["last_activity_at"] is not None
        kill_shim(team, last_run(team, key)["id"])
        until(lambda: is_at(team, key, "running", 2), "it is tried again")
        assert [run["resumes"] for run in of(team, key)["runs"]] == [None, 1]
        folder = team.service.root / "data" / "runs" / str(last_run(team, key)["id"])
        until((folder / "resumed").exists, "HOME and checkout were taken over")
        assert "go on where you stopped" in (folder / "prompt.jsonl").read_text()
        team.client.post(f"/api/v1/tasks/{key}/cancel")
        until(lambda: is_at(team, key, "ended", 2), "it is stopped", STOP_LIMIT_S)


def kill_shim(team: Team, run: int) -> None:
    """kill -9 for whoever holds the run's lock."""
    lock = team.service.root / "data" / "runs" / str(run) / "lock"
    (holder,) = holders(lock)
    os.kill(holder, signal.SIGKILL)


def holders(lock: Path) -> list[int]:
    found = []
    for pid in supervise.pids():
        try:
            if any(fd.readlink() == lock for fd in Path(f"/proc/{pid}/fd").iterdir()):
                found.append(pid)
        except OSError:
            continue
    return found
