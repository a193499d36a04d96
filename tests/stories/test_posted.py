"""A posted task has no work item, so nobody can comment on it: what an operator is told to do does it."""

import stat
import sys
from pathlib import Path

from orchestrator.sim.world import REPO, World
from stories.team import Team, at_work
from support import until

COSTLY = '''#!{python} -I
"""Out of turns after six dollars, for as long as a file is there."""
import json, os, sys
if os.path.exists({flag!r}):
    sys.stdin.readline()
    said = {{"subtype": "error_max_turns", "is_error": True, "terminal_reason": "max_turns", "num_turns": 1}}
    print(json.dumps({{"type": "result", **said, "total_cost_usd": 6.0}}))
    raise SystemExit(1)
os.execv({real!r}, [{real!r}, *sys.argv[1:]])
'''


def costly(path: Path, flag: Path, real: Path) -> Path:
    text = COSTLY.format(python=sys.executable, flag=str(flag), real=str(real))
    path.write_text(text, encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def order(team: Team, path: str) -> None:
    assert team.client.post(f"/api/v1/{path}").status_code == 202


def waits(team: Team, key: str) -> list[tuple[str, str, str]]:
    """Why, who can mend it, and by what."""
    found = team.client.get(f"/api/v1/tasks/{key}/explain").json().get("unblock", ())
    return [(one["code"], one["who"], one["action"]) for one in found]


def test_an_operator_unparks_a_posted_task_by_what_it_says(world: World, tmp_path: Path, scripted: Path) -> None:
    """Paused while its run waits and after that, cancelled, out of money: each time by the action that is told."""
    flag = tmp_path / "costly"
    flag.touch()
    claude = costly(tmp_path / "costly-claude", flag, scripted)
    with at_work(world, claude, ORCH_TASK_BUDGET_USD="5") as team:
        order(team, "pause")
        asked = {"repository": REPO, "role": "analyst", "task": "Write it down."}
        key = team.client.post("/api/v1/tasks", json=asked).json()["key"]
        until(lambda: [one[0] for one in waits(team, key)] == ["dispatch_paused"], "its run waits")
        order(team, f"tasks/{key}/pause")
        order(team, "resume")
        until(lambda: waits(team, key) == [("paused", "operator", "orch resume")], "it is paused alone")
        order(team, f"tasks/{key}/cancel")
        until(lambda: waits(team, key) == [("cancelled", "operator", "orch resume")], "it is cancelled")
        order(team, f"tasks/{key}/resume")
        until(
            lambda: waits(team, key) == [("run_not_successful", "operator", "orch retry")], "it says what is next"
        )
        order(team, f"tasks/{key}/pause")
        order(team, f"tasks/{key}/retry")
        until(lambda: waits(team, key) == [("paused", "operator", "orch resume")], "it is paused again")
        order(team, f"tasks/{key}/resume")
        until(lambda: waits(team, key) == [("task_budget_spent", "operator", "orch retry")], "its money is spent")
        flag.unlink()
        order(team, f"tasks/{key}/retry")
        until(lambda: team.client.get(f"/api/v1/tasks/{key}").json()["stage"] == "done", "it is done")
