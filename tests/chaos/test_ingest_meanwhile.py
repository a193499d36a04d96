"""While agents do what they must not, deliveries are answered as ever. Figures are printed; the counts decide."""

import json
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from orchestrator.sim.webhook import load_recorded, plane_headers
from orchestrator.sim.world import REPO, World
from stories.team import Team, at_work
from support import FIXTURES, until

DELIVERIES = 400
MIB = 1024 * 1024
DEAF = "for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP): signal.signal(n, signal.SIG_IGN)\n"
HEAD = f"#!{sys.executable} -IS\nimport os, signal, time\nuntil = time.monotonic() + 60\n{DEAF}"
AGENTS = {
    "fork bomb": (
        "for _ in range(30):\n    if os.fork() == 0:\n        os.setsid()\n"
        "        while time.monotonic() < until:\n"
        "            if os.fork(): os._exit(0)\n        os._exit(0)\n"
        "while time.monotonic() < until: time.sleep(1)\n"
    ),
    "one gigabyte of output": (
        f"piece = b'x' * {MIB}\nfor _ in range(1024): os.write(1, piece)\n"
        "while time.monotonic() < until: time.sleep(1)\n"
    ),
    "four gigabytes of memory": (
        f"kept = [os.urandom({MIB}) * 64 for _ in range(64)]\nwhile time.monotonic() < until: time.sleep(1)\n"
    ),
    "both processors": "os.fork()\nos.fork()\nwhile time.monotonic() < until: pass\n",
    "files": (
        f"piece = b'x' * {MIB}\nnumber = 0\n"
        "while time.monotonic() < until and number < 10:\n"
        "    fd = os.open(f'f{number}', os.O_WRONLY | os.O_CREAT); number += 1\n"
        "    for _ in range(200): os.write(fd, piece)\n"
        "while time.monotonic() < until: time.sleep(1)\n"
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
def test_deliveries_are_answered_while_an_agent_misbehaves(
    world: World, tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    claude = tmp_path / "claude"
    claude.write_text(HEAD + AGENTS[kind])
    claude.chmod(0o755)
    with at_work(world, claude, ORCH_RUN_MAX_LOG_BYTES="10000000", ORCH_RUN_MAX_MEMORY_BYTES="2000000000") as team:
        order = {"repository": REPO, "role": "analyst", "task": "Misbehave."}
        key = team.client.post("/api/v1/tasks", json=order).json()["key"]
        until(has_begun(team, key), "it is at work")
        times = answered(team, DELIVERIES)
        run = team.client.get(f"/api/v1/tasks/{key}").json()["runs"][0]
        began = time.perf_counter()
        team.client.post(f"/api/v1/runs/{run['id']}/cancel")
        until(lambda: team.client.get(f"/api/v1/runs/{run['id']}").json()["state"] == "ended", "it is over")
        over_s = time.perf_counter() - began
        p99 = times[int(len(times) * 0.99)] * 1000
        with capsys.disabled():
            print(f"\n{kind}: {DELIVERIES} answered, p99 {p99:.0f} ms, worst {times[-1] * 1000:.0f} ms; ", end="")
            print(f"over after {over_s:.1f} s")
    assert len(times) == DELIVERIES


def has_begun(team: Team, key: str) -> Callable[[], bool]:
    def look() -> bool:
        runs = team.client.get(f"/api/v1/tasks/{key}").json()["runs"]
        return bool(runs) and runs[0]["state"] != "intended"

    return look
