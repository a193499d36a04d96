"""What an installation lacks, by its settings and its file alone."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from green import BORIS, PROJECT
from orchestrator import findings
from orchestrator.agents.probe import Measured
from orchestrator.agents.sandbox import Capability, Sandbox
from orchestrator.agents.sandboxes import Sandboxes, Wish
from orchestrator.config import load
from orchestrator.configfile import Directory
from orchestrator.domain.finding import Finding, Level
from orchestrator.domain.model import Project, ReviewPolicy
from orchestrator.domain.roles import Language
from orchestrator.findings import of_settings
from orchestrator.main import _sandboxes
from orchestrator.words.findings import Told, in_words

WHOLE = {
    "ORCH_PLANE_API_TOKEN": "p",
    "ORCH_PLANE_WORKSPACE_SLUG": "w",
    "ORCH_GITEA_TOKEN": "g",
    "ORCH_GITEA_TOKEN_REVIEWER": "r",
    "ORCH_ANTHROPIC_API_KEY": "a",
    "ORCH_API_TOKEN": "t",
}


def found(project: Project | None, **environ: str) -> list[Told]:
    """Without a value the variable is not set."""
    given = {name: value for name, value in (WHOLE | environ).items() if value}
    return in_english(of_settings(load(given, None), Directory((project,) if project else ())))


def in_english(found: Iterable[Finding]) -> list[Told]:
    return [in_words(one, Language.EN) for one in found]


def test_a_whole_installation_lacks_nothing() -> None:
    assert found(PROJECT) == []


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("ORCH_PLANE_API_TOKEN", "no_plane_token"),
        ("ORCH_PLANE_WORKSPACE_SLUG", "no_plane_token"),
        ("ORCH_GITEA_TOKEN", "no_gitea_token"),
        ("ORCH_ANTHROPIC_API_KEY", "no_model_credential"),
        ("ORCH_API_TOKEN", "no_api_token"),
        ("ORCH_GITEA_TOKEN_REVIEWER", "no_reviewer_user"),
    ],
)
def test_each_setting_that_is_missing_is_told_with_how_to_mend_it(name: str, code: str) -> None:
    (one,) = found(PROJECT, **{name: ""})
    assert (one.code, one.level, name.partition("_GITEA_TOKEN")[0] in one.mend) == (code, Level.MISSING, True)


@pytest.mark.parametrize(
    ("project", "code"),
    [
        (None, "no_projects"),
        (replace(PROJECT, approvers=()), "no_approvers"),
        (replace(PROJECT, approvers=(BORIS,), gates=replace(PROJECT.gates, approvals=2)), "too_few_approvers"),
    ],
)
def test_a_file_that_stops_every_task_is_told(project: Project | None, code: str) -> None:
    assert [(one.code, bool(one.mend)) for one in found(project)] == [(code, True)]


def test_one_user_for_developer_and_reviewer_is_told_unless_people_review() -> None:
    assert [one.code for one in found(PROJECT, ORCH_GITEA_TOKEN_REVIEWER="g")] == ["one_gitea_user"]
    by_people = replace(PROJECT, gates=replace(PROJECT.gates, review=ReviewPolicy.HUMAN))
    assert found(by_people, ORCH_GITEA_TOKEN_REVIEWER="") == []
    as_ourselves = found(PROJECT, ORCH_GITEA_TOKEN_REVIEWER="g", ORCH_GITEA_TOKEN_DEVELOPER="d")
    assert [one.code for one in as_ourselves] == ["one_gitea_user"]
    assert "orchestrator's" in as_ourselves[0].message
    assert found(PROJECT, ORCH_GITEA_TOKEN_REVIEWER="r", ORCH_GITEA_TOKEN_DEVELOPER="d") == []


# --- the sandbox


def of_level(level: Sandbox, wish: Wish, missing: dict[Capability, str] | None = None) -> list[Told]:
    sandboxes = Sandboxes(Path("nowhere"), wish)
    sandboxes._measured = Measured(level, missing or {})
    return in_english(findings.of_sandbox(sandboxes))


def test_the_sandbox_is_told_with_what_it_lacks() -> None:
    (found,) = of_level(Sandbox(7, has_bwrap=True), Wish(), {Capability.USER: "it needs root"})
    assert (found.code, found.level) == ("sandbox", Level.FINE)
    assert "landlock+bwrap" in found.message
    assert "Without user: it needs root." in found.message


def test_less_than_asked_for_is_missing_with_the_reason_and_the_way_out() -> None:
    (found,) = of_level(Sandbox(2), Wish(), {Capability.LANDLOCK: "too old"})
    assert (found.code, found.level) == ("sandbox_too_weak", Level.MISSING)
    assert "too old" in found.message
    assert "ORCH_MIN_SANDBOX=none" in found.mend


@pytest.mark.parametrize("level", [Sandbox(0, has_user=True), Sandbox(0, has_bwrap=True), Sandbox(3, True, True)])
def test_a_level_without_landlock_is_never_fine_and_its_open_network_is_told(level: Sandbox) -> None:
    (found,) = of_level(level, Wish(least=frozenset()), {Capability.LANDLOCK: "the kernel has none"})
    assert (found.code, found.level) == ("no_landlock", Level.MISSING)
    assert str(level) in found.message
    assert "reaches every address" in found.message
    assert "Without landlock: the kernel has none." in found.message
    assert "ORCH_MIN_SANDBOX=landlock" in found.mend


@pytest.mark.parametrize("asked", ["user", "bwrap", "user,bwrap"])
def test_a_level_without_landlock_is_refused_unless_the_least_is_lowered(asked: str) -> None:
    given = {"ORCH_SANDBOX": asked}
    wishes = [_sandboxes(load(given | more, None)).wish for more in ({}, {"ORCH_MIN_SANDBOX": asked})]
    level = Sandbox(0, has_user="user" in asked, has_bwrap="bwrap" in asked)
    assert [of_level(level, wish)[0].code for wish in wishes] == ["sandbox_too_weak", "no_landlock"]


def test_a_landlock_without_scopes_is_a_warning_unless_bubblewrap_closes_that() -> None:
    assert [one.code for one in of_level(Sandbox(5), Wish())] == ["sandbox", "old_landlock"]
    assert [one.code for one in of_level(Sandbox(6), Wish())] == ["sandbox"]
    assert [one.code for one in of_level(Sandbox(5, has_bwrap=True), Wish())] == ["sandbox"]
    assert [one.code for one in of_level(Sandbox(5, has_user=True), Wish())] == ["sandbox"]


def test_no_sandbox_is_told_and_without_a_runtime_there_is_nothing_to_tell() -> None:
    assert [one.code for one in of_level(Sandbox(), Wish(frozenset(), frozenset()))] == ["no_sandbox"]
    assert findings.of_sandbox(None) == []
