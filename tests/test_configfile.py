"""orchestrator.yaml: every fault names file and line, and all faults are told at once."""

from pathlib import Path

import pytest

from orchestrator.configfile import ConfigFault, Directory, load, parse
from orchestrator.domain.model import CiPolicy, ProjectId, RepoName, ReviewPolicy, Trigger, TriggerKind
from orchestrator.domain.roles import Language

UUID = "df602150-b31b-4706-9b31-c91c962460d7"
OTHER = "00000000-b31b-4706-9b31-c91c962460d7"
GOOD = f"""\
projects:
  - plane_project: {UUID.upper()}
    repository: acme/enduro-trails
    base_branch: develop
    language: ru
    trigger: {{label: "agent:go"}}
    gates: {{review: both, approvals: 2, ci: none, required_contexts: ["ci/*"]}}
people:
  - plane_user: {OTHER}
    gitea_login: alice
    approver: yes
"""


def test_a_good_file_is_read_whole() -> None:
    directory = parse(GOOD)
    project = directory.project(ProjectId(UUID))
    assert project is not None
    assert project.repo == RepoName("acme", "enduro-trails")
    assert (project.base_branch, project.language) == ("develop", Language.RU)
    assert project.trigger == Trigger(TriggerKind.LABEL, "agent:go")
    assert (project.gates.review, project.gates.approvals, project.gates.ci) == (
        ReviewPolicy.BOTH,
        2,
        CiPolicy.NONE,
    )
    assert project.gates.required_contexts == ("ci/*",)
    assert project.approvers == (OTHER,)
    assert directory.people[0].gitea_login == "alice"
    assert directory.project_of_repo(RepoName("acme", "enduro-trails")) is project
    assert directory.project_of_repo(RepoName("Acme", "ENDURO-trails")) is project
    assert directory.project_of_repo(RepoName("acme", "enduro_trails")) is None


@pytest.mark.parametrize("text", ["", "projects:\n", "projects: []\npeople: []\n"])
def test_an_empty_file_maps_nothing(text: str) -> None:
    assert parse(text) == Directory()


def test_a_missing_file_maps_nothing(tmp_path: Path) -> None:
    assert load(tmp_path / "none.yaml") == Directory()


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("projects: [", 1, "YAML"),
        ("a: b", 1, "unknown"),
        ("- a", 1, "mapping"),
        ("projects: x", 1, "list"),
        ("projects:\n  - repository: a/b", 2, "plane_project is missing"),
        (f"projects:\n  - plane_project: {UUID}\n    repository: ../../etc", 3, "owner/name"),
        ("projects:\n  - plane_project: nope\n    repository: a/b", 2, "not a uuid"),
        (GOOD.replace("develop", "-x"), 4, "not a branch name"),
        (GOOD.replace("develop", "a..b"), 4, "not a branch name"),
        (GOOD.replace("language: ru", "language: xx"), 5, "xx"),
        (GOOD.replace('{label: "agent:go"}', "{a: b}"), 6, "unknown"),
        (GOOD.replace('{label: "agent:go"}', "{label: a, state: b}"), 6, "new_item"),
        (GOOD.replace("approvals: 2", "approvals: 99"), 7, "between"),
        (GOOD.replace("approver: yes", "approver: perhaps"), 11, "neither"),
        (GOOD.replace("language: ru", "base_branch: x"), 5, "twice"),
        (GOOD.replace("    language: ru", f"  - plane_project: {UUID}\n    repository: a/b"), 5, "mapped twice"),
        (
            GOOD.replace("    language: ru", f"  - plane_project: {OTHER}\n    repository: Acme/Enduro-Trails"),
            5,
            "another",
        ),
        (
            GOOD.replace("    language: ru", f"  - plane_project: {OTHER}\n    repository: acme/enduro-trails"),
            5,
            "another",
        ),
        (GOOD.replace("acme/enduro-trails", "[a]"), 3, "single value"),
    ],
)
def test_a_fault_names_its_line(text: str, line: int, says: str) -> None:
    with pytest.raises(ConfigFault) as fault:
        parse(text, "o.yaml")
    assert any(one.startswith(f"o.yaml:{line}: ") and says in one for one in fault.value.faults), (
        fault.value.faults
    )


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (f"plane_user: {OTHER.upper()}, approver: false", f"plane_user {OTHER} belongs"),
        (f"plane_user: {UUID}, gitea_login: Alice", "gitea_login alice belongs"),
    ],
)
def test_nobody_stands_there_twice_with_other_rights(more: str, says: str) -> None:
    with pytest.raises(ConfigFault) as fault:
        parse(f"{GOOD.rstrip()}\n  - {{{more}}}\n", "o.yaml")
    assert says in fault.value.faults[0]


def test_people_without_a_login_are_many() -> None:
    assert len(parse(f"people:\n  - plane_user: {UUID}\n  - plane_user: {OTHER}\n").people) == 2


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(ConfigFault) as fault:
        parse(GOOD.replace("develop", "-x").replace("language: ru", "language: xx").replace("yes", "perhaps"))
    assert len(fault.value.faults) == 3


def test_a_file_that_is_not_text_or_too_large_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_bytes(b"\xff\xfe")
    (tmp_path / "big.yaml").write_bytes(b"#" * (1024 * 1024 + 1))
    for name in ("bad.yaml", "big.yaml"):
        with pytest.raises(ConfigFault):
            load(tmp_path / name)


def test_the_shipped_example_is_good() -> None:
    example = Path(__file__).resolve().parents[1] / "orchestrator.yaml.example"
    assert load(example).projects
