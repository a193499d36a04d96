"""What an agent is told: the user prompt (ours) and the task file (others' words, marked as such). Pure."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import astuple
from uuid import UUID

from orchestrator.agents.words import WORDS, Words
from orchestrator.domain.errors import Permanent
from orchestrator.domain.roles import TASK_FILES, Language, Role
from orchestrator.domain.run import Feedback, RunSpec

_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,49}")
_TITLE_MAX_CHARS = 500
_BRIEF_MAX_CHARS = 100_000
_FEEDBACK_MAX_ITEMS = 20
_FEEDBACK_TEXT_MAX_CHARS = 8000
_FEEDBACK_MAX_CHARS = 40_000
_HOUSE_RULES_MAX_CHARS = 32_000
_HISTORY_MAX_CHARS = 8000
_SOURCE_MAX_CHARS = 200
_URL_MAX_CHARS = 1000
_CODE = re.compile(r"[a-z][a-z0-9_]{0,59}")
_VERDICT_ROLES = frozenset({Role.REVIEWER, Role.TESTER})
_BLANK_LETTERS = frozenset("\u115f\u1160\u2800\u3164\uffa0")
"""Letters and symbols by category, but nothing is to be seen of them."""
_VARIATION_SELECTORS = (range(0xFE00, 0xFE10), range(0xE0100, 0xE01F0))


def marker_line(spec: RunSpec) -> str:
    """The prompt's first line. Its parts are checked: a key or id of another shape could forge a line."""
    return f"Task: {_checked_key(spec.task_key)} | Role: {spec.role} | Run: {_checked_session(spec.session_id)}"


def user_prompt(spec: RunSpec) -> str:
    """Ours from the first to the last word, but for the instructions of a task posted with our API token."""
    words, names = WORDS[spec.language], _names(spec)
    work = clean(spec.instructions)[0][:_BRIEF_MAX_CHARS] or words.work[spec.role].format(**names)
    go_on = (words.go_on, "") if spec.earlier else ()
    again = (words.answer_feedback[spec.role].format(**names), "") if spec.feedback else ()
    rule = words.verdict_rule if spec.role in _VERDICT_ROLES else words.commit_rule
    return "\n".join(
        (
            marker_line(spec),
            f"Language: {spec.language}",
            f"Documents: {' | '.join(astuple(spec.documents))}",
            "",
            words.place.format(branch=_in_ticks(spec.branch)),
            words.read_first.format(**names),
            words.untrusted,
            "",
            *go_on,
            work,
            "",
            *again,
            words.language.format(language=spec.language),
            rule.format(**names),
            "",
        )
    )


def _in_ticks(text: str) -> str:
    """A branch's name may be somebody's: it cannot end the code that it is shown as."""
    return _line(clean(text)[0].replace("`", ""), _SOURCE_MAX_CHARS)


def _names(spec: RunSpec) -> dict[str, str]:
    key = _checked_key(spec.task_key)
    folder, files = f"tasks/{key}", spec.documents
    return {
        "key": key,
        "task_file": TASK_FILES[spec.role],
        "folder": folder,
        "brd": f"{folder}/{files.brd}",
        "architecture": f"{folder}/{files.architecture}",
        "dev_task": f"{folder}/{files.dev_task}",
        "dev_report": f"{folder}/{files.dev_report}",
    }


def task_file(spec: RunSpec) -> str:
    """Others' words inside blocks whose end they cannot know: it carries the run's random id.

    The feedback comes first: a long text would push it out of what an agent reads at once.
    """
    return "\n".join(
        (f"# Task {_checked_key(spec.task_key)}", "", *_history(spec), *_feedback(spec), *_work_item(spec), "")
    )


def _history(spec: RunSpec) -> list[str]:
    if not spec.history:
        return []
    words, (text, _) = WORDS[spec.language], clean(spec.history)
    shown = _both_ends(text.strip(), _HISTORY_MAX_CHARS, words)
    heading = [f"## {words.history_heading}", "", words.history_note, ""]
    return [*heading, *_fenced(spec, "HISTORY", [shown]), ""]


def house_rules(raw: bytes, language: Language) -> str:
    """The repository's own CLAUDE.md as a part of the role prompt: as text, so that no `@file` in it is read."""
    words = WORDS[language]
    text, hidden = clean(raw.decode(errors="replace"))
    notes = [words.hidden.format(count=hidden)] if hidden else []
    shown = _both_ends(text.strip(), _HOUSE_RULES_MAX_CHARS, words)
    return "\n".join(("", f"# {words.house_heading}", "", words.house_note, *notes, "", shown, ""))


def _work_item(spec: RunSpec) -> list[str]:
    words = WORDS[spec.language]
    title, hidden_in_title = clean(spec.title)
    brief, hidden_in_brief = clean(spec.brief)
    text = brief[:_BRIEF_MAX_CHARS].strip() or words.no_description
    return [
        f"## {words.item_heading}",
        "",
        words.item_note,
        *_notes(words, hidden_in_title + hidden_in_brief, len(title), len(brief)),
        "",
        *_fenced(spec, "TEXT", [f"{words.title}: {_line(title, _TITLE_MAX_CHARS)}", "", text]),
    ]


def _notes(words: Words, hidden: int, title_chars: int, brief_chars: int) -> list[str]:
    notes = []
    if hidden:
        notes.append(words.hidden.format(count=hidden))
    if title_chars > _TITLE_MAX_CHARS or brief_chars > _BRIEF_MAX_CHARS:
        notes.append(words.cut.format(title=_TITLE_MAX_CHARS, text=_BRIEF_MAX_CHARS))
    return notes


def _feedback(spec: RunSpec) -> list[str]:
    """Only the code's sentence is ours; who said it and where are as foreign as the text."""
    if not spec.feedback:
        return []
    words, shown = WORDS[spec.language], spec.feedback[:_FEEDBACK_MAX_ITEMS]
    texts = [clean(one.text) for one in shown]
    limits = _shares([len(text) for text, _ in texts])
    points = [
        _point(spec, number, one, text, limit)
        for number, (one, (text, _), limit) in enumerate(zip(shown, texts, limits, strict=True), 1)
    ]
    hidden = sum(count for _, count in texts) + sum(clean(one.source + one.url)[1] for one in shown)
    notes = [words.hidden.format(count=hidden)] if hidden else []
    if any(len(text) > limit for (text, _), limit in zip(texts, limits, strict=True)):
        notes.append(words.feedback_cut.format(item=_FEEDBACK_TEXT_MAX_CHARS, total=_FEEDBACK_MAX_CHARS))
    if left_out := len(spec.feedback) - len(shown):
        notes.append(words.feedback_left_out.format(count=left_out))
    lines = [line for point in points for line in point]
    return [f"## {words.feedback_heading}", "", words.feedback_note, *notes, "", *lines]


def _shares(wanted: Sequence[int]) -> list[int]:
    """How much of each text is shown; when not all fits, the newest come first and each keeps a little."""
    least = _FEEDBACK_MAX_CHARS // (2 * _FEEDBACK_MAX_ITEMS)
    left = _FEEDBACK_MAX_CHARS - least * len(wanted)
    shares = []
    for chars in wanted:
        share = min(max(chars, least), _FEEDBACK_TEXT_MAX_CHARS, least + left)
        left -= share - least
        shares.append(share)
    return shares


def _point(spec: RunSpec, number: int, one: Feedback, text: str, limit: int) -> list[str]:
    words = WORDS[spec.language]
    code = one.code if _CODE.fullmatch(one.code) else "other"
    source, url = clean(one.source)[0], clean(one.url)[0]
    lines = [f"{words.source}: {_line(source, _SOURCE_MAX_CHARS)}"] if source.strip() else []
    lines += [f"{words.link}: {_line(url, _URL_MAX_CHARS)}"] if url.strip() else []
    return [
        f"### {number}. {code}: {words.causes.get(code, words.other_cause)}",
        "",
        *_fenced(spec, "FEEDBACK", [*lines, "", _both_ends(text.strip(), limit, words)]),
        "",
    ]


def _both_ends(text: str, limit: int, words: Words) -> str:
    """A log tells the cause at its end, a person at the beginning."""
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]}\n{words.left_out.format(count=len(text) - 2 * half)}\n{text[-half:]}"


def _fenced(spec: RunSpec, kind: str, lines: Sequence[str]) -> list[str]:
    fence = f"UNTRUSTED {kind} {_checked_session(spec.session_id)}"
    return [f"<<< BEGIN {fence}", *lines, f">>> END {fence}"]


def _line(text: str, limit: int) -> str:
    return " ".join(text[:limit].split())


def clean(text: str) -> tuple[str, int]:
    """The text without what a reader cannot see, and how many characters that were."""
    lines = text.replace("\r\n", "\n").replace("\u2028", "\n").replace("\u2029", "\n")
    kept = "".join(char for char in lines if not _is_hidden(char))
    return kept, len(lines) - len(kept)


def _is_hidden(char: str) -> bool:
    """Controls, format and direction marks, tags, surrogates, private and unassigned ones, blank letters."""
    if char in "\n\t":
        return False
    if char in _BLANK_LETTERS or any(ord(char) in selectors for selectors in _VARIATION_SELECTORS):
        return True
    return unicodedata.category(char).startswith("C")


def _checked_key(key: str) -> str:
    if not _KEY.fullmatch(key):
        raise Permanent(
            "bad_task_key",
            f"The task's key {key[:60]!r} cannot be a folder name, so no run was started.",
            hint="Keys are letters, digits, '-' and '_', at most 50. Rename the project's identifier.",
        )
    return key


def _checked_session(session: str) -> str:
    try:
        return str(UUID(session))
    except ValueError:
        raise Permanent("bad_session_id", "The run's session id is not a UUID.") from None
