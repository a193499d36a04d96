"""Agents get the strongest sandbox of the machine, people see which, and with less than asked for none starts."""

from pathlib import Path

import pytest

import warm
from orchestrator.agents.probe import landlock_abi
from orchestrator.agents.sandbox import LANDLOCK_TCP_ABI
from orchestrator.sim.world import Service, World
from orchestrator.sim.wrapper import write_wrapper
from support import at_rest


def test_a_run_tells_the_level_that_it_was_put_into(world: World, tmp_path: Path) -> None:
    if landlock_abi() < LANDLOCK_TCP_ABI:
        pytest.skip(f"this kernel's Landlock (ABI {landlock_abi()}) does not know TCP")
    world.is_sandboxed = True
    with Service(world.root, world.settings(write_wrapper(tmp_path / "claude")), starter=warm.started) as service:
        world.connect(service)
        world.post_recorded(service, "issue__created__rest")
        with service.client() as client:
            run = at_rest(client)["runs"][-1]
            found = {one["code"]: one for one in client.get("/ready").json()["findings"]}
    assert run["outcome"] == "succeeded", run
    assert run["sandbox"].startswith("landlock")
    assert f"Agents are sandboxed: {run['sandbox']} (" in found["sandbox"]["message"]
    assert found["sandbox"]["level"] == "fine"


def test_a_machine_below_the_least_level_starts_no_agent_and_says_how_to_accept_less(
    world: World, tmp_path: Path
) -> None:
    environ = world.settings(write_wrapper(tmp_path / "claude")) | {"ORCH_MIN_SANDBOX": "landlock"}
    with Service(world.root, environ, starter=warm.started) as service:
        world.connect(service)
        world.post_recorded(service, "issue__created__rest")
        with service.client() as client:
            run = at_rest(client)["runs"][-1]
            found = {one["code"]: one for one in client.get("/ready").json()["findings"]}
    assert (run["outcome"], run["reason"], run["sandbox"]) == ("failed", "sandbox_too_weak", "none")
    assert "ORCH_MIN_SANDBOX=none" in run["detail"]
    assert "ORCH_MIN_SANDBOX=none" in found["sandbox_too_weak"]["mend"]


def test_who_accepts_no_sandbox_is_told_so(world: World, service: Service) -> None:
    with service.client() as client:
        found = {one["code"]: one for one in client.get("/ready").json()["findings"]}
    assert "without a sandbox" in found["no_sandbox"]["message"]
