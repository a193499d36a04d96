"""While agents do what they must not, deliveries are answered as ever, and each ends as what it did."""

import json
import os
import sys
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

import counted
from chaos.storm import left_of
from orchestrator.sim.server import utc_now
from orchestrator.sim.webhook import load_recorded, plane_headers
from orchestrator.sim.world import REPO, World
from stories.team import Team, at_work
from support import FIXTURES, until

DELIVERIES = 400
MOST_S = 2.0
"""The measure is 500 ms at p99, and is printed; on a machine that has other things to do, only this is a fault."""
MOST_OVER_S = 20.0
"""The measure is 10 s from the limit, or from the order to stop, to the end; as above."""
MIB = 1024 * 1024
DEAF = "for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP): signal.signal(n, signal.SIG_IGN)\n"
HEAD = f"#!{sys.executable} -IS\nimport json, os, signal, time\nuntil = time.monotonic() + 150\n{DEAF}"
STAYS = "while time.monotonic() < until: time.sleep(1)\n"
TOO_MUCH = "    if number == {}: open('too-much', 'w').write(repr(time.time()))\n"
"""When it went over its limit, by its own word."""
SHORT_S = 4.0
TIMEOUT, SILENCE = {"ORCH_RUN_TIMEOUT_S": str(SHORT_S)}, {"ORCH_RUN_SILENCE_S": str(SHORT_S)}
LIMITS = {
    "ORCH_RUN_MAX_LOG_BYTES": "10000000",
    "ORCH_RUN_MAX_MEMORY_BYTES": "2000000000",
    "ORCH_RUN_MAX_DISK_BYTES": "500000000",
}
CANCELLED = ("cancelled", "cancelled")
"""What no limit ends goes on until somebody ends it."""


@dataclass(frozen=True, slots=True)
class Misdeed:
    """What an agent does, deaf to whatever it can ignore; and the outcome and the reason that it ends with.
    `within`: settings of its own. One that `needs_user` is bounded by what its own uid may have.
    """

    body: str
    ends: tuple[str, str] = CANCELLED
    within: Mapping[str, str] = field(default_factory=dict)
    needs_user: bool = False


AGENTS = {
    "fork bomb": Misdeed(
        "for _ in range(30):\n    if os.fork() == 0:\n        os.setsid()\n"
        "        while time.monotonic() < until:\n"
        "            if os.fork(): os._exit(0)\n        os._exit(0)\n" + STAYS
    ),
    "fork bomb without an end": Misdeed(
        "while time.monotonic() < until:\n    try: os.fork()\n    except OSError: time.sleep(0.05)\n",
        within={"ORCH_RUN_MAX_PROCESSES": "200"},
        needs_user=True,
    ),
    "one gigabyte of output": Misdeed(
        f"piece = b'x' * {MIB}\nfor number in range(1024):\n    os.write(1, piece)\n{TOO_MUCH.format(10)}{STAYS}",
        ("failed", "log_full"),
    ),
    "four gigabytes of memory": Misdeed(
        f"kept = []\nfor number in range(64):\n    kept.append(os.urandom({MIB}) * 64)\n"
        f"{TOO_MUCH.format(30)}{STAYS}",
        ("failed", "memory_full"),
    ),
    "both processors": Misdeed("os.fork()\nos.fork()\nwhile time.monotonic() < until: pass\n"),
    "ten gigabytes of files": Misdeed(
        f"piece = b'x' * {MIB}\n"
        "for number in range(50):\n"
        "    fd = os.open(f'f{number}', os.O_WRONLY | os.O_CREAT)\n"
        f"    for _ in range(200): os.write(fd, piece)\n{TOO_MUCH.format(2)}{STAYS}",
        ("failed", "disk_full"),
    ),
    "never ends": Misdeed(STAYS, ("timed_out", "timed_out"), TIMEOUT),
    "a daemon": Misdeed(f"if os.fork() == 0:\n    os.setsid()\n    if os.fork(): os._exit(0)\n{STAYS}"),
    "a daemon that hides": Misdeed(
        "if os.fork() == 0:\n    os.setsid()\n    if os.fork(): os._exit(0)\n    os.closerange(0, 100)\n"
        f"    os.execve('/bin/sleep', [os.getcwd(), '150'], {{}})\n{STAYS}"
    ),
    "stops itself": Misdeed(f"os.kill(os.getpid(), signal.SIGSTOP)\n{STAYS}", ("stalled", "stalled"), SILENCE),
    "stops its shim": Misdeed(f"os.kill(os.getppid(), signal.SIGSTOP)\n{STAYS}"),
    "closes its output": Misdeed(f"os.close(1)\nos.close(2)\n{STAYS}", ("stalled", "stalled"), SILENCE),
    "lies": Misdeed(
        "os.write(1, json.dumps({'type': 'result', 'subtype': 'success', 'is_error': False,"
        " 'terminal_reason': 'completed', 'num_turns': 1}).encode() + b'\\n')\n",
        ("failed", "no_commit"),
    ),
}


def answered(team: Team, count: int) -> list[float]:
    """Seconds until each delivery, all of them new, was answered with 200."""
    recorded = load_recorded(FIXTURES / "plane" / "issue__created__rest.json")
    times = []
    with httpx.Client(trust_env=False, timeout=30) as client:
        for _ in range(count):
            body = json.loads(recorded.body)
            body["data"]["id"] = str(uuid.uuid4())
            raw = json.dumps(body).encode()
            headers = plane_headers("issue", str(uuid.uuid4()), recorded.secret, raw)
            began = time.perf_counter()
            answer = client.post(f"{team.service.url}/webhook/plane", content=raw, headers=headers)
            times.append(time.perf_counter() - began)
            assert answer.json() == {"status": "accepted"}, answer.text
    return sorted(times)


@pytest.mark.nightly
@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", sorted(AGENTS))
def test_deliveries_are_answered_while_an_agent_misbehaves_and_it_ends_as_what_it_did(
    world: World, tmp_path: Path, kind: str
) -> None:
    misdeed, claude = AGENTS[kind], tmp_path / "claude"
    claude.write_text(HEAD + misdeed.body)
    claude.chmod(0o755)
    world.is_sandboxed = misdeed.needs_user
    if misdeed.needs_user and os.geteuid() != 0:
        pytest.skip("only root gives each run a uid of its own, and nothing else bounds this one")
    with at_work(world, claude, **{**LIMITS, **misdeed.within}) as team:
        still = answered(team, DELIVERIES)
        order = {"repository": REPO, "role": "analyst", "task": "Misbehave."}
        key = team.client.post("/api/v1/tasks", json=order).json()["key"]
        until(has_begun(team, key), "it is at work")
        times = answered(team, DELIVERIES)
        run = team.client.get(f"/api/v1/tasks/{key}").json()["runs"][0]
        folder = world.root / "data" / "runs" / str(run["id"])
        alive, began = left_of(folder, limit_s=0.0), utc_now()
        if misdeed.ends == CANCELLED:
            assert team.client.post(f"/api/v1/runs/{run['id']}/cancel").status_code == 202
        until(lambda: team.client.get(f"/api/v1/runs/{run['id']}").json()["state"] == "ended", "it is over", 60)
        left = left_of(folder, limit_s=0.0)
        ended = team.client.get(f"/api/v1/runs/{run['id']}").json()
        over_s = (
            datetime.fromisoformat(ended["finished_at"]) - limit_of(misdeed, ended, folder, began)
        ).total_seconds()
    counted.said(
        f"{kind}: {DELIVERIES} answered, p99 {p99(times) * 1000:.0f} ms (undisturbed {p99(still) * 1000:.0f} ms), "
        f"worst {times[-1] * 1000:.0f} ms; over in {over_s:.1f} s (measure: 10), {len(left)} left of {len(alive)}"
    )
    assert (ended["outcome"], ended["reason"]) == misdeed.ends
    assert left == []
    assert alive or misdeed.ends != CANCELLED
    assert len(times) == DELIVERIES
    assert p99(times) < MOST_S
    assert over_s < MOST_OVER_S
    assert misdeed.needs_user is ("user" in ended["sandbox"])


def limit_of(misdeed: Misdeed, ended: dict[str, Any], folder: Path, began: datetime) -> datetime:
    """When it was over its limit, or was told to stop."""
    if misdeed.within in (TIMEOUT, SILENCE):
        return datetime.fromisoformat(ended["started_at"]) + timedelta(seconds=SHORT_S)
    if misdeed.ends[1].endswith("_full"):
        return datetime.fromtimestamp(float((folder / "workspace" / "too-much").read_text()), UTC)
    return began


def p99(times: list[float]) -> float:
    return times[int(len(times) * 0.99)]


def has_begun(team: Team, key: str) -> Callable[[], bool]:
    def look() -> bool:
        runs = team.client.get(f"/api/v1/tasks/{key}").json()["runs"]
        return bool(runs) and runs[0]["state"] != "intended"

    return look
