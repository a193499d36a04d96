"""Forgejo, which tells nobody of a status; and both languages the whole way."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.sim.world import REPO, World
from stories.acts import at, document, green_until, pull_comments
from stories.team import PERSON, at_work
from support import FIXTURES, until


@pytest.fixture
def forgejo(tmp_path: Path) -> Iterator[World]:
    with World(tmp_path / "world", FIXTURES, forge="forgejo") as one:
        yield one


def test_on_forgejo_checks_are_polled_and_the_way_is_the_same(forgejo: World, scripted: Path) -> None:
    with at_work(forgejo, scripted) as team:
        team.begin()
        team.approved_until("ready")
        team.waits_for("merge", "ready")
        told = forgejo.gitea.deliveries
        assert forgejo.gitea.version == "15.0.3+gitea-1.22.0"
        assert told
        assert all("X-Forgejo-Event" in one.headers for one in told)
        assert "status" not in {one.event for one in told}
        assert team.reviews() == [("reviewer", "APPROVED")]
        team.check("failure")
        until(lambda: team.started().count("developer") == 2, "a check that turns red is seen, too")
        green_until(team, at("ready", "merge"))
        team.people.merge(REPO, team.pull.number, PERSON)
        team.reaches("done")


def is_russian(text: str) -> bool:
    return sum("а" <= char <= "я" for char in text.lower()) > 20


@pytest.mark.parametrize(
    ("language", "title", "heading"),
    [("ru", "Маршрут: импорт GPX «с кавычками» — ёжик", "## Цель"), ("en", "Import routes as GPX", "## Goal")],
)
def test_the_whole_way_is_in_the_projects_language(
    world: World, scripted: Path, language: str, title: str, heading: str
) -> None:
    with at_work(world, scripted, config=f"language: {language}") as team:
        team.begin(title)
        team.approved_until("ready")
        team.waits_for("merge", "ready")
        assert heading in document(team, "BRD.md")
        assert title.split()[1] in document(team, "BRD.md")
        assert title in team.pull.title
        assert team.branch.isascii()
        until(lambda: team.gate_status()["status"] == "success", "the status is green")
        shown = [*team.comments(), *pull_comments(team), team.pull.body, team.pull.reviews[0]["body"]]
        shown += [document(team, name) for name in ("ARCHITECTURE.md", "DEV_TASK.md", "DEV_REPORT.md")]
        wanted = language == "ru"
        assert [is_russian(text) for text in shown] == [wanted] * len(shown), shown
        assert any("а" <= char <= "я" for char in team.gate_status()["description"].lower()) is wanted
