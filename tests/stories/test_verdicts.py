"""Reviewer and tester through the whole service: their word counts, their commits never do."""

from pathlib import Path
from typing import Any

import pytest

import warm
from orchestrator.sim.world import REPO, Service, World
from orchestrator.sim.wrapper import write_wrapper
from support import until


def committing(folder: Path, scenario: str = "work") -> Path:
    """An agent that commits on the task's branch before it gives its verdict, whatever it was told."""
    obedient = write_wrapper(folder / "obedient", scenario)
    path = folder / "claude"
    path.write_text(f'#!/bin/sh\ngit commit -q --allow-empty -m sneaked\nexec {obedient} "$@"\n', encoding="utf-8")
    path.chmod(0o755)
    return path


def finished(service: Service, role: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The posted task and its run, once that is over."""
    order = {"repository": REPO, "role": role, "task": "Judge the base branch."}
    with service.client() as client:
        url = client.post("/api/v1/tasks", json=order).json()["url"]

        def look() -> dict[str, Any] | None:
            task = client.get(url).json()
            return task if task["runs"] and task["runs"][-1]["outcome"] else None

        task = until(look, "the run ended")
    assert task is not None
    return task, task["runs"][-1]


@pytest.mark.parametrize("role", ["reviewer", "tester"])
def test_what_a_judge_commits_is_dropped(world: World, tmp_path: Path, role: str) -> None:
    with Service(world.root, world.settings(committing(tmp_path)), starter=warm.started) as service:
        task, run = finished(service, role)
    assert (run["outcome"], run["reason"], run["head_sha"]) == ("succeeded", "", None)
    assert world.gitea.head(REPO, task["branch"]) == world.gitea.head(REPO, "main")


def test_a_judge_who_only_talks_has_failed(world: World, tmp_path: Path) -> None:
    talking = world.settings(write_wrapper(tmp_path / "claude", "no_verdict"))
    with Service(world.root, talking, starter=warm.started) as service:
        _, run = finished(service, "reviewer")
    assert (run["outcome"], run["reason"]) == ("failed", "no_verdict")
    assert "structured verdict" in run["detail"]
