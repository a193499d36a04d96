"""Nothing starts while it is paused, whoever asks; the account's usage limit passes by itself, for nothing."""

import stat
import sys
from pathlib import Path

from orchestrator.sim.world import REPO, World
from orchestrator.sim.wrapper import write_wrapper
from stories.team import Team, at_work
from support import query, starts, until

LIMITED = '''#!{python} -I
"""Meets the account's usage limit for as long as a file is there; its reset is some seconds away."""
import json, os, sys, time
if os.path.exists({flag!r}):
    os.write(os.open({ledger!r}, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), b"limited\\n")
    sys.stdin.readline()
    info = {{"status": "rejected", "resetsAt": int(time.time()) + 5, "rateLimitType": "five_hour"}}
    print(json.dumps({{"type": "rate_limit_event", "rate_limit_info": info}}))
    said = {{"subtype": "success", "is_error": True, "terminal_reason": "api_error", "num_turns": 1}}
    print(json.dumps({{"type": "result", **said, "api_error": "usage_limit_reached", "result": "You've hit it"}}))
    raise SystemExit(1)
os.execv({real!r}, [{real!r}, *sys.argv[1:]])
'''


def limited(path: Path, flag: Path, ledger: Path, real: Path) -> Path:
    text = LIMITED.format(python=sys.executable, flag=str(flag), ledger=str(ledger), real=str(real))
    path.write_text(text, encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def post_a_task(team: Team) -> str:
    order = {"repository": REPO, "role": "analyst", "task": "Write it down."}
    answer = team.client.post("/api/v1/tasks", json=order)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["key"])


def codes_of(team: Team, key: str) -> set[str]:
    """Why it waits; nothing where it is not known yet."""
    return {item["code"] for item in team.client.get(f"/api/v1/tasks/{key}").json().get("waiting", ())}


def test_while_everything_is_paused_no_path_starts_an_agent_and_then_all_go_on(
    world: World, tmp_path: Path, ledger: Path
) -> None:
    """F31: a delivery, a posted task, a retry, a resync, a restart."""
    with at_work(world, write_wrapper(tmp_path / "claude", "crash", ledger)) as team:
        failed = post_a_task(team)
        until(lambda: "run_not_successful" in codes_of(team, failed), "its attempts are used up")
        before = starts(ledger)
        assert team.client.post("/api/v1/pause").json() == {"status": "paused"}
        team.begin()
        posted = post_a_task(team)
        assert team.client.post(f"/api/v1/tasks/{failed}/retry").status_code == 202
        for key in (team.key, posted, failed):
            until(lambda key=key: "dispatch_paused" in codes_of(team, key), f"{key} says why it waits")
        until(lambda: "operator" in team.sticky() or "оператором" in team.sticky(), "so does the comment")
        team.restart()
        until(lambda: "dispatch_paused" in team.codes(), "it still does after a restart")
        assert "dispatch_paused" in {one["code"] for one in team.client.get("/ready").json()["findings"]}
        assert "dispatch_paused" in {one["code"] for one in team.client.get("/status").json()["problems"]}
        assert starts(ledger) == before
        assert team.client.post("/api/v1/resume").json() == {"status": "running"}
        until(lambda: len(starts(ledger)) >= len(before) + 3, "all three start")


def test_the_usage_limit_burns_no_launch_and_no_attempt_and_ends_by_itself(
    world: World, tmp_path: Path, ledger: Path
) -> None:
    """F9."""
    flag, hits = tmp_path / "limit", tmp_path / "hits"
    flag.touch()
    claude = limited(tmp_path / "limited", flag, hits, write_wrapper(tmp_path / "claude", ledger=ledger))
    with at_work(world, claude, ORCH_MAX_ATTEMPTS="1", ORCH_USAGE_LIMIT_PAUSE_S="15") as team:
        team.begin()
        until(lambda: "account_paused" in team.codes(), "it waits for the account")
        assert "account_paused" in {one["code"] for one in team.client.get("/ready").json()["findings"]}
        posted = post_a_task(team)
        until(lambda: "account_paused" in codes_of(team, posted), "a new task waits, too")
        flag.unlink()
        assert (len(hits.read_text().split()), starts(ledger)) == (1, [])
        team.waits_for("approval", "analysis")
        assert len(hits.read_text().split()) == 1
        assert [(run["outcome"], run["attempt"]) for run in team.task()["runs"]] == [
            ("usage_limit", 1),
            ("succeeded", 2),
        ]
        until(lambda: not query(team.service, "SELECT kind FROM pauses"), "the pause is over")
