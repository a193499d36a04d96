"""What an installation lacks, by its settings and its file alone."""

from dataclasses import replace

import pytest

from green import BORIS, PROJECT
from orchestrator.config import load
from orchestrator.configfile import Directory
from orchestrator.domain.finding import Finding, Level
from orchestrator.domain.model import Project, ReviewPolicy
from orchestrator.findings import of_settings

WHOLE = {
    "ORCH_PLANE_API_TOKEN": "p",
    "ORCH_PLANE_WORKSPACE_SLUG": "w",
    "ORCH_GITEA_TOKEN": "g",
    "ORCH_GITEA_TOKEN_REVIEWER": "r",
    "ORCH_ANTHROPIC_API_KEY": "a",
    "ORCH_API_TOKEN": "t",
}


def found(project: Project | None, **environ: str) -> list[Finding]:
    """Without a value the variable is not set."""
    given = {name: value for name, value in (WHOLE | environ).items() if value}
    return of_settings(load(given, None), Directory((project,) if project else ()))


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
