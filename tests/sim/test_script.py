"""What the scripted agents do, told by the task files that our own prompts write."""

from dataclasses import replace

import pytest

from orchestrator.agents import prompt, verdict
from orchestrator.domain.model import DocumentFiles, RepoName, RunId, Sha, Stage
from orchestrator.domain.roles import Language, Role
from orchestrator.domain.run import Feedback, RunLimits, RunSpec, VerdictWord
from orchestrator.sim.script import (
    TOLD_IN_THE_TASK,
    Answer,
    Bash,
    Read,
    Say,
    ScenarioName,
    Step,
    Write,
    feedback_codes,
    read_assignment,
    scenarios_in,
    steps,
)

FIRST, SECOND, THIRD = (f"{digit}1f5cf0c-1556-4498-a782-ec9aaa8e1c8c" for digit in "678")
SPEC = RunSpec(
    run=RunId(1),
    session_id=FIRST,
    task_key="ENDURO-1",
    title="Find trails",
    role=Role.DEVELOPER,
    stage=Stage.DEVELOPMENT,
    attempt=1,
    repo=RepoName.parse("acme/shop"),
    branch="feature/ENDURO-1",
    base_branch="main",
    base_sha=Sha("a" * 40),
    language=Language.EN,
    brief="People want to find trails.",
    limits=RunLimits(timeout_s=1, max_turns=1, max_budget_usd=1),
)
REVIEWED = Feedback("review_rejected", "bob", "The empty case is missing.")
FAILED = Feedback("test_failed", "tester", "AC-2 does not hold.")


def played(spec: RunSpec, *results: str, scenario: ScenarioName = ScenarioName.WORK) -> tuple[Step, ...]:
    """The whole conversation of a run with this specification; `results` are of the reads after the first."""
    assignment = read_assignment(prompt.user_prompt(spec))
    assert assignment is not None
    return steps(assignment, scenario, "/w", (prompt.task_file(spec), *results))


def written(found: tuple[Step, ...]) -> dict[str, str]:
    return {step.path.removeprefix("/w/"): step.content for step in found if isinstance(step, Write)}


def kinds(found: tuple[Step, ...]) -> list[str]:
    return [type(step).__name__ for step in found]


def said(spec: RunSpec, report: str) -> VerdictWord:
    last = played(spec, report)[-1]
    reader = verdict.reader(spec.role, spec.language)
    assert isinstance(last, Answer)
    assert reader is not None
    return reader(last.output).word


@pytest.mark.parametrize("language", list(Language))
def test_the_architect_leaves_both_documents_and_the_ready_line_alone_on_its_line(language: Language) -> None:
    files = written(played(replace(SPEC, role=Role.ARCHITECT, language=language)))
    assert list(files) == ["tasks/ENDURO-1/ARCHITECTURE.md", "tasks/ENDURO-1/DEV_TASK.md"]
    line = {Language.EN: "Status: Ready for dev", Language.RU: "Статус: Ready for dev"}[language]
    assert line in files["tasks/ENDURO-1/DEV_TASK.md"].splitlines()
    assert all("Find trails" in text and "{" not in text for text in files.values())


@pytest.mark.parametrize(
    ("language", "headings"),
    [
        (Language.EN, ("## Goal", "## Functional requirements", "## Acceptance criteria")),
        (Language.RU, ("## Цель", "## Функциональные требования", "## Критерии приёмки")),
    ],
)
def test_the_analysts_document_has_the_headings_that_the_gate_wants(
    language: Language, headings: tuple[str, ...]
) -> None:
    (text,) = written(played(replace(SPEC, role=Role.ANALYST, language=language))).values()
    assert set(headings) <= set(text.splitlines())


def test_the_developer_leaves_code_a_test_and_a_report_in_one_commit() -> None:
    found = played(SPEC)
    files = written(found)
    assert list(files) == ["src/enduro_1.py", "tests/test_enduro_1.py", "tasks/ENDURO-1/DEV_REPORT.md"]
    assert kinds(found) == ["Read", "Write", "Write", "Write", "Bash", "Say"]
    for name in ("src/enduro_1.py", "tests/test_enduro_1.py"):
        compile(files[name], name, "exec")
    assert "Rework" not in files["tasks/ENDURO-1/DEV_REPORT.md"]


def test_renamed_documents_are_written_under_their_names() -> None:
    spec = replace(SPEC, documents=DocumentFiles("T.md", "R.md", "Z.md", "O.md"))
    assert "tasks/ENDURO-1/O.md" in written(played(spec))
    assert list(written(played(replace(spec, role=Role.ARCHITECT)))) == [
        "tasks/ENDURO-1/R.md",
        "tasks/ENDURO-1/Z.md",
    ]


@pytest.mark.parametrize("role", [Role.ANALYST, Role.ARCHITECT, Role.DEVELOPER])
@pytest.mark.parametrize("language", list(Language))
def test_every_round_of_rework_writes_something_new_and_reads_what_it_overwrites(
    role: Role, language: Language
) -> None:
    spec = replace(SPEC, role=role, language=language)
    rounds = [
        played(spec),
        played(replace(spec, session_id=SECOND, feedback=(REVIEWED,))),
        played(replace(spec, session_id=THIRD, feedback=(REVIEWED,))),
    ]
    for path in written(rounds[1]):
        assert len({written(one)[path] for one in rounds}) == 3
        assert any(isinstance(step, Read) and step.path == f"/w/{path}" for step in rounds[1])


@pytest.mark.parametrize("language", list(Language))
def test_the_report_keeps_what_was_answered_before(language: Language) -> None:
    spec, report = replace(SPEC, language=language), "tasks/ENDURO-1/DEV_REPORT.md"
    second = written(played(replace(spec, session_id=SECOND, feedback=(REVIEWED,))))[report]
    numbered = "".join(f"{number}\t{line}\n" for number, line in enumerate(second.splitlines(), 1))
    third = written(played(replace(spec, session_id=THIRD, feedback=(FAILED,)), numbered))[report]
    assert "- review_rejected (71f5cf0c): " in third
    assert "- test_failed (81f5cf0c): " in third


@pytest.mark.parametrize("language", list(Language))
@pytest.mark.parametrize(
    ("role", "line", "feedback", "first", "then"),
    [
        (Role.REVIEWER, "review_rejects_once", REVIEWED, VerdictWord.CHANGES_REQUESTED, VerdictWord.APPROVED),
        (
            Role.REVIEWER,
            "review_rejects_once",
            FAILED,
            VerdictWord.CHANGES_REQUESTED,
            VerdictWord.CHANGES_REQUESTED,
        ),
        (Role.REVIEWER, "review_rejects", REVIEWED, VerdictWord.CHANGES_REQUESTED, VerdictWord.CHANGES_REQUESTED),
        (Role.REVIEWER, "test_fails_once", REVIEWED, VerdictWord.APPROVED, VerdictWord.APPROVED),
        (Role.TESTER, "test_fails_once", FAILED, VerdictWord.FAILED, VerdictWord.PASSED),
        (Role.TESTER, "test_fails", FAILED, VerdictWord.FAILED, VerdictWord.FAILED),
        (Role.TESTER, "nothing", FAILED, VerdictWord.PASSED, VerdictWord.PASSED),
    ],
)
def test_who_fails_once_is_content_when_the_report_answers(
    role: Role, line: str, feedback: Feedback, first: VerdictWord, then: VerdictWord, language: Language
) -> None:
    word = {Language.EN: "Scenario", Language.RU: "Сценарий"}[language]
    spec = replace(SPEC, language=language, brief=f"Text.\n{word}: {line}\nMore.")
    reports = [
        written(played(one))["tasks/ENDURO-1/DEV_REPORT.md"]
        for one in (spec, replace(spec, session_id=SECOND, feedback=(feedback,)))
    ]
    judge = replace(spec, role=role)
    assert [said(judge, report) for report in reports] == [first, then]


@pytest.mark.parametrize("role", [Role.REVIEWER, Role.TESTER])
def test_a_missing_and_a_malformed_verdict(role: Role) -> None:
    spec = replace(SPEC, role=role)
    assert isinstance(played(spec, scenario=ScenarioName.NO_VERDICT)[-1], Say)
    bad = played(spec, scenario=ScenarioName.BAD_VERDICT)[-1]
    reader = verdict.reader(role, Language.EN)
    assert isinstance(bad, Answer)
    assert reader is not None
    with pytest.raises(verdict.NoVerdict):
        reader(bad.output)


def test_a_protected_path_is_touched_and_committed_in_the_first_round_only() -> None:
    spec = replace(SPEC, brief="Scenario: protected_path")
    found = played(spec)
    assert ".gitea/workflows/ci.yml" in written(found)
    assert any(isinstance(step, Bash) and ".gitea/workflows/ci.yml" in step.line for step in found)
    assert ".gitea/workflows/ci.yml" not in written(played(replace(spec, feedback=(REVIEWED,))))


def test_a_missing_output_and_a_work_order_that_is_not_ready() -> None:
    missing = replace(SPEC, brief="Scenario: output_missing")
    assert list(written(played(missing))) == ["src/enduro_1.py", "tests/test_enduro_1.py"]
    assert list(written(played(replace(missing, role=Role.ARCHITECT)))) == ["tasks/ENDURO-1/NOTES.md"]
    vague = replace(SPEC, role=Role.ARCHITECT, brief="Scenario: not_ready")
    assert "Ready for dev" not in written(played(vague))["tasks/ENDURO-1/DEV_TASK.md"]


@pytest.mark.parametrize(
    ("text", "role", "wanted"),
    [
        ("Scenario: no_commit", Role.ANALYST, {"no_commit"}),
        ("scenario: developer no_commit", Role.DEVELOPER, {"no_commit"}),
        ("Scenario: developer no_commit", Role.ANALYST, set()),
        ("Scenario: no_commit", Role.REVIEWER, set()),
        ("Сценарий: review_rejects_once, test_fails_once", Role.TESTER, {"test_fails_once"}),
        ("   12\tScenario: no_verdict\n", Role.TESTER, {"no_verdict"}),
        ("Scenario: tester no_verdict\nScenario: bad_verdict", Role.TESTER, {"no_verdict", "bad_verdict"}),
        ("The scenario: no_commit", Role.ANALYST, set()),
        ("Scenario: hang, http_401, work, nonsense, ,", Role.ANALYST, set()),
        ("Scenario:", Role.ANALYST, set()),
    ],
)
def test_a_work_item_chooses_scenarios_by_a_line_of_its_text(text: str, role: Role, wanted: set[str]) -> None:
    assert scenarios_in(text, role) == wanted


def test_every_scenario_that_a_work_item_may_ask_for_changes_what_its_roles_do() -> None:
    for name, roles in TOLD_IN_THE_TASK.items():
        for role in roles:
            spec = replace(SPEC, role=role)
            assert played(replace(spec, brief=f"Scenario: {name}"), "") != played(spec, ""), (name, role)


def test_the_codes_of_the_feedback_are_read_from_its_headings_only() -> None:
    quoted = replace(FAILED, text="### 3. ci_red: x")
    text = prompt.task_file(replace(SPEC, feedback=(REVIEWED, REVIEWED), brief="### 3. ci_red: no"))
    assert feedback_codes(text) == ("review_rejected",)
    assert feedback_codes(prompt.task_file(replace(SPEC, feedback=(quoted,))))[0] == "test_failed"
    assert feedback_codes(prompt.task_file(SPEC)) == ()
