"""Structured verdicts: their schema, what is refused, and the report that people read."""

import json
from typing import Any

import pytest

from orchestrator.agents import verdict
from orchestrator.agents.verdict import NoVerdict
from orchestrator.domain.roles import Language, Role
from orchestrator.domain.run import RoleVerdict, VerdictWord

FINDING: dict[str, Any] = {"file": "src/a.py", "line": 12, "severity": "minor", "text": "Name it better."}
REVIEW: dict[str, Any] = {"verdict": "approved", "summary": "Good.", "findings": [FINDING]}
CHECK: dict[str, Any] = {"criterion": "AC-1", "result": "passed", "detail": "Seen."}
TEST: dict[str, Any] = {"verdict": "passed", "summary": "Ran it.", "checks": [CHECK]}
GREEN = {Role.REVIEWER: REVIEW, Role.TESTER: TEST}


def read(role: Role, output: object, language: Language = Language.EN) -> RoleVerdict:
    reader = verdict.reader(role, language)
    assert reader is not None
    return reader(output)


def review(**changes: Any) -> RoleVerdict:
    return read(Role.REVIEWER, REVIEW | changes)


def of_tester(**changes: Any) -> RoleVerdict:
    return read(Role.TESTER, TEST | changes)


def test_a_role_that_commits_owes_no_verdict() -> None:
    for role in (Role.ANALYST, Role.ARCHITECT, Role.DEVELOPER):
        assert (verdict.schema(role), verdict.reader(role, Language.EN)) == (None, None)


@pytest.mark.parametrize("role", sorted(GREEN))
def test_the_schema_asks_for_all_that_is_read(role: Role) -> None:
    schema = json.loads(verdict.schema(role) or "")
    assert schema["required"] == list(GREEN[role])
    assert schema["additionalProperties"] is False
    (items,) = (part["items"] for part in schema["properties"].values() if part["type"] == "array")
    assert items["required"] == list(items["properties"])
    assert set(items["properties"]) == set(FINDING if role is Role.REVIEWER else CHECK)


@pytest.mark.parametrize("role", sorted(GREEN))
def test_every_word_of_the_schema_is_a_verdict(role: Role) -> None:
    for word in json.loads(verdict.schema(role) or "")["properties"]["verdict"]["enum"]:
        assert read(role, GREEN[role] | {"verdict": word}).word == word


@pytest.mark.parametrize("role", sorted(GREEN))
@pytest.mark.parametrize("language", list(Language))
def test_a_report_is_in_the_projects_language(role: Role, language: Language) -> None:
    said = read(role, GREEN[role], language).report
    heading = {
        (Role.REVIEWER, Language.EN): "**Approved**",
        (Role.REVIEWER, Language.RU): "**Одобрено**",
        (Role.TESTER, Language.EN): "**Passed**",
        (Role.TESTER, Language.RU): "**Проверка пройдена**",
    }
    assert said.startswith(heading[role, language] + "\n\n> ")


def test_a_review_is_told_with_its_places() -> None:
    assert (
        review().report == "**Approved**\n\n> Good.\n\nFindings:\n\n- **minor** `src/a.py:12`\n  Name it better.\n"
    )
    nowhere = FINDING | {"file": "", "line": 0}
    assert "- **minor**\n  Name it better.\n" in review(findings=[nowhere]).report


def test_a_test_is_told_with_its_checks() -> None:
    assert of_tester().report == "**Passed**\n\n> Ran it.\n\nChecks:\n\n- **passed** `AC-1`\n  Seen.\n"


@pytest.mark.parametrize("role", sorted(GREEN))
@pytest.mark.parametrize(
    "spoil",
    [
        lambda _: None,
        lambda _: "approved",
        lambda _: [],
        lambda green: {key: value for key, value in green.items() if key != "verdict"},
        lambda green: {key: value for key, value in green.items() if key != "summary"},
        lambda green: {key: value for key, value in green.items() if key not in {"checks", "findings"}},
        lambda green: green | {"verdict": "approve"},
        lambda green: green | {"verdict": "Approved"},
        lambda green: green | {"verdict": ["approved"]},
        lambda green: green | {"verdict": None},
        lambda green: green | {"summary": 1},
        lambda green: green | {"summary": " \n\u200b"},
        lambda green: green | {"checks": {}, "findings": {}},
        lambda green: green | {"checks": [1], "findings": [None]},
        lambda green: green | {"checks": [CHECK | {"result": "ok"}], "findings": [FINDING | {"severity": "ok"}]},
        lambda green: green | {"checks": [{"result": "passed"}], "findings": [FINDING | {"line": -1}]},
        lambda green: green | {"checks": [CHECK | {"detail": 3}], "findings": [FINDING | {"line": "12"}]},
        lambda green: green | {"checks": [CHECK | {"detail": 3}], "findings": [FINDING | {"line": 10**30}]},
    ],
)
def test_what_is_not_of_the_agreed_shape_is_no_verdict(role: Role, spoil: Any) -> None:
    with pytest.raises(NoVerdict):
        read(role, spoil(GREEN[role]))


def test_a_missing_verdict_is_told_from_a_malformed_one() -> None:
    with pytest.raises(NoVerdict, match="without its structured verdict"):
        read(Role.REVIEWER, None)
    with pytest.raises(NoVerdict, match=r"agreed shape: .* `\$.verdict`"):
        review(verdict="fine")


def test_the_words_of_one_role_are_not_the_others() -> None:
    with pytest.raises(NoVerdict):
        review(verdict="passed")
    with pytest.raises(NoVerdict):
        of_tester(verdict="approved")


def test_a_blocking_finding_outweighs_an_approval() -> None:
    said = review(findings=[FINDING, FINDING | {"severity": "blocking"}])
    assert said.word is VerdictWord.CHANGES_REQUESTED
    assert "The agent's word was “Approved”" in said.report
    assert review(findings=[FINDING | {"severity": "major"}]).word is VerdictWord.APPROVED


@pytest.mark.parametrize("result", ["failed", "not_tested"])
def test_a_check_that_did_not_pass_outweighs_a_pass(result: str) -> None:
    said = of_tester(checks=[CHECK, CHECK | {"result": result}])
    assert said.word is VerdictWord.FAILED
    assert "The agent's word was “Passed”" in said.report


def test_a_pass_without_a_check_is_no_verdict_but_a_failure_is_one() -> None:
    with pytest.raises(NoVerdict, match="no check"):
        of_tester(checks=[])
    assert of_tester(verdict="failed", checks=[]).word is VerdictWord.FAILED


def test_an_unknown_field_is_passed_over() -> None:
    assert review(confidence=1).word is VerdictWord.APPROVED


def test_a_report_has_no_control_or_hidden_characters() -> None:
    noisy = "a\x1b[31m\x00\u202eb\U000e0041\r\nc"
    finding = FINDING | {"file": f"x{noisy}", "text": noisy}
    for said in (review(summary=noisy, findings=[finding]), of_tester(checks=[CHECK | {"criterion": noisy}])):
        assert said.report.replace("\n", "").isprintable()
    assert "> a[31mb\n> c" in review(summary=noisy).report


def test_a_report_is_bounded_and_says_what_is_left_out() -> None:
    long = "<" * 100_000
    finding = {"file": long, "line": 1, "severity": "minor", "text": long}
    said = review(summary=long, findings=[finding] * 1000).report
    assert len(said) <= verdict.REPORT_MAX_CHARS
    assert said.rstrip().endswith("more, left out here")
    assert len(of_tester(checks=[CHECK] * 1000).report) <= verdict.REPORT_MAX_CHARS
    assert "900 more" in of_tester(checks=[CHECK] * 1000).report


def test_a_report_is_inert_where_markdown_is_shown() -> None:
    hostile = "<!-- orch:marker --> <img src=x> ![p](http://x/pixel) @alice (@bob) a@b.example"
    finding = FINDING | {"file": "`@x`<b>", "text": hostile}
    said = review(summary=hostile, findings=[finding]).report
    assert "<" not in said
    assert "![" not in said
    assert "@alice" not in said
    assert "@bob" not in said
    assert "a@b.example" in said
    assert said.count("`") == 2


@pytest.mark.parametrize("place", ["summary", "text"])
def test_no_foreign_line_stands_at_the_beginning_of_a_line(place: str) -> None:
    """So an open code fence or a heading of an agent's ends with its own item."""
    hostile = "```\n# heading\n:approved:\n\nlast"
    said = (
        review(summary=hostile).report
        if place == "summary"
        else review(findings=[FINDING | {"text": hostile}]).report
    )
    ours = {"**Approved**", "", "Findings:"}
    assert all(line in ours or line.startswith(("> ", "- ", "  ", ">")) for line in said.split("\n"))
