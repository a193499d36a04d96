"""A verdict role's structured answer: its schema, and what a verdict is made of it. Never from prose. Pure."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

import msgspec

from orchestrator.agents.prompt import clean
from orchestrator.domain.roles import Language, Role
from orchestrator.domain.run import RoleVerdict, VerdictWord

REPORT_MAX_CHARS = 30_000
_SUMMARY_MAX_CHARS = 4000
_TEXT_MAX_CHARS = 2000
_NAME_MAX_CHARS = 300
_ITEMS_MAX = 100

_MENTION = re.compile(r"(?<![\w.])@(?=\w)")


class NoVerdict(ValueError):
    """The structured output is missing, malformed or says nothing; the text says which."""


class _Finding(msgspec.Struct, frozen=True):
    """One remark of a reviewer. Line 0: about no line in particular."""

    file: str
    line: Annotated[int, msgspec.Meta(ge=0, le=100_000_000)]
    severity: Literal["blocking", "major", "minor"]
    text: str


class _Review(msgspec.Struct, frozen=True):
    verdict: Literal["approved", "changes_requested"]
    summary: str
    findings: tuple[_Finding, ...]


class _Check(msgspec.Struct, frozen=True):
    """One thing that a tester tried."""

    criterion: str
    result: Literal["passed", "failed", "not_tested"]
    detail: str


class _Test(msgspec.Struct, frozen=True):
    verdict: Literal["passed", "failed"]
    summary: str
    checks: tuple[_Check, ...]


_Answer = TypeVar("_Answer", _Review, _Test)


def _object(**properties: Any) -> dict[str, Any]:
    """Only words of JSON Schema that every model API takes; lengths are bounded where the answer is read."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _text(description: str) -> dict[str, Any]:
    return {"type": "string", "description": description}


def _word(*words: str) -> dict[str, Any]:
    return {"type": "string", "enum": list(words)}


_SCHEMAS = {
    Role.REVIEWER: _object(
        verdict=_word("approved", "changes_requested"),
        summary=_text("What the branch does, why this verdict, what you ran and what you did not check."),
        findings={
            "type": "array",
            "items": _object(
                file=_text("Path from the root of the repository; empty when it is about no file."),
                line={"type": "integer", "description": "0 when it is about no line."},
                severity=_word("blocking", "major", "minor"),
                text=_text("What is wrong, how it shows, what would mend it."),
            ),
        },
    ),
    Role.TESTER: _object(
        verdict=_word("passed", "failed"),
        summary=_text("What you ran, what you saw, what could not be tested and why."),
        checks={
            "type": "array",
            "items": _object(
                criterion=_text("The acceptance criterion or the case, by number or in words."),
                result=_word("passed", "failed", "not_tested"),
                detail=_text("What you did, what you expected, what happened."),
            ),
        },
    ),
}


def schema(role: Role) -> str | None:
    """For `--json-schema`; None for a role whose output is a commit."""
    found = _SCHEMAS.get(role)
    return json.dumps(found) if found else None


def reader(role: Role, language: Language) -> Callable[[object], RoleVerdict] | None:
    """What makes a verdict of this role's structured output, or raises NoVerdict; None when it owes none."""
    match role:
        case Role.REVIEWER:
            return lambda output: _review(_read(output, _Review), _WORDS[language])
        case Role.TESTER:
            return lambda output: _test(_read(output, _Test), _WORDS[language])
        case Role.ANALYST | Role.ARCHITECT | Role.DEVELOPER:
            return None


def _read(output: object, kind: type[_Answer]) -> _Answer:
    if output is None:
        raise NoVerdict("The agent ended without its structured verdict.")
    try:
        found = msgspec.convert(output, kind)
    except msgspec.ValidationError as fault:
        raise NoVerdict(f"The agent's structured verdict is not of the agreed shape: {fault}") from None
    if not clean(found.summary)[0].strip():
        raise NoVerdict("The agent's structured verdict has an empty summary.")
    return found


def _review(review: _Review, words: "_Words") -> RoleVerdict:
    """A blocking finding outweighs an approval: what contradicts itself counts as its stricter half."""
    said, word = VerdictWord(review.verdict), VerdictWord(review.verdict)
    if any(finding.severity == "blocking" for finding in review.findings):
        word = VerdictWord.CHANGES_REQUESTED
    items = [_item(words.severities[one.severity], _place(one), one.text) for one in review.findings[:_ITEMS_MAX]]
    listed = _List(words.findings, items, len(review.findings))
    return RoleVerdict(word, _report(words, (said, word), review.summary, listed))


def _test(test: _Test, words: "_Words") -> RoleVerdict:
    """A check that failed or was not made outweighs a pass; a pass that rests on no check is none."""
    said, word = VerdictWord(test.verdict), VerdictWord(test.verdict)
    if said is VerdictWord.PASSED and not test.checks:
        raise NoVerdict("The agent's structured verdict says that the test passed, but names no check.")
    if any(check.result != "passed" for check in test.checks):
        word = VerdictWord.FAILED
    items = [
        _item(words.results[one.result], _code(one.criterion), one.detail) for one in test.checks[:_ITEMS_MAX]
    ]
    listed = _List(words.checks, items, len(test.checks))
    return RoleVerdict(word, _report(words, (said, word), test.summary, listed))


@dataclass(frozen=True, slots=True)
class _List:
    """The first items, rendered, of `count`."""

    heading: str
    items: list[str]
    count: int


def _report(
    words: "_Words", said_and_counted: tuple[VerdictWord, VerdictWord], summary: str, listed: _List
) -> str:
    """Every foreign line stands inside a quote or a list item, so that no open fence swallows what follows."""
    said, word = said_and_counted
    lines = [f"**{words.verdicts[word]}**", ""]
    if said is not word:
        lines += [words.overruled.format(said=words.verdicts[said]), ""]
    lines += [_behind("> ", _bounded(summary, _SUMMARY_MAX_CHARS)), ""]
    if listed.items:
        lines += [f"{listed.heading}:", ""]
        lines += _fitting(words, listed, REPORT_MAX_CHARS - sum(len(line) + 1 for line in lines))
    return "\n".join(lines).strip() + "\n"


def _fitting(words: "_Words", listed: _List, chars: int) -> list[str]:
    shown: list[str] = []
    left = chars - _NAME_MAX_CHARS  # for the line that tells of the rest
    for item in listed.items:
        left -= len(item) + 1
        if left < 0:
            break
        shown.append(item)
    rest = listed.count - len(shown)
    return [*shown, words.more.format(count=rest)] if rest else shown


def _item(kind: str, place: str, text: str) -> str:
    body = _behind("  ", _bounded(text, _TEXT_MAX_CHARS))
    return f"- **{kind}**{place}\n{body}" if body.strip() else f"- **{kind}**{place}"


def _place(finding: _Finding) -> str:
    line = f":{finding.line}" if finding.line else ""
    return _code(f"{finding.file}{line}") if finding.file.strip() else ""


def _code(text: str) -> str:
    """One line of code, or nothing; a backtick of its own would end it early."""
    line = " ".join(_bounded(text, _NAME_MAX_CHARS).replace("`", "").split())
    return f" `{line}`" if line else ""


def _behind(mark: str, text: str) -> str:
    return "\n".join(f"{mark}{line}".rstrip() for line in text.split("\n"))


def _bounded(text: str, limit: int) -> str:
    """Clean, and inert where Markdown is shown: no HTML and so no hidden mark, no image, no mention."""
    kept = clean(text[: 2 * limit])[0].strip()
    cut = kept if len(kept) <= limit else kept[: limit - 1] + "…"
    return _MENTION.sub("&#64;", cut.replace("<", "&lt;").replace("![", "!\\["))


@dataclass(frozen=True, slots=True)
class _Words:
    verdicts: dict[VerdictWord, str]
    severities: dict[str, str]
    results: dict[str, str]
    findings: str
    checks: str
    overruled: str
    more: str


_WORDS = {
    Language.EN: _Words(
        verdicts={
            VerdictWord.APPROVED: "Approved",
            VerdictWord.CHANGES_REQUESTED: "Changes requested",
            VerdictWord.PASSED: "Passed",
            VerdictWord.FAILED: "Failed",
        },
        severities={"blocking": "blocking", "major": "major", "minor": "minor"},
        results={"passed": "passed", "failed": "failed", "not_tested": "not tested"},
        findings="Findings",
        checks="Checks",
        overruled="The agent's word was “{said}”, but what it lists below says otherwise; the stricter counts.",
        more="- … and {count} more, left out here",
    ),
    Language.RU: _Words(
        verdicts={
            VerdictWord.APPROVED: "Одобрено",
            VerdictWord.CHANGES_REQUESTED: "Нужны изменения",
            VerdictWord.PASSED: "Проверка пройдена",
            VerdictWord.FAILED: "Проверка не пройдена",
        },
        severities={"blocking": "блокирует", "major": "важно", "minor": "мелочь"},
        results={"passed": "пройдено", "failed": "не пройдено", "not_tested": "не проверено"},
        findings="Замечания",
        checks="Проверки",
        overruled="Агент написал «{said}», но список ниже говорит об ином; действует более строгое.",
        more="- … и ещё {count}, здесь не показаны",
    ),
}
