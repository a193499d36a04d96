"""Answers to comments, and the frames around what a reviewer or a tester wrote."""

from collections.abc import Sequence

from orchestrator.domain.forge import ReviewState
from orchestrator.domain.roles import Language, Role
from orchestrator.domain.run import VerdictWord
from orchestrator.qg.verdict import Item
from orchestrator.words import marks
from orchestrator.words.marks import Block, Listing, Paragraph, Quote, Spans, Text
from orchestrator.words.names import ROLES, VERDICT_WORDS, in_language
from orchestrator.words.phrases import PHRASES
from orchestrator.words.sentences import People, spans, what_is, what_to_do, who_can, with_step

MAX_ABOUT = 10
MAX_CHARS = 200
"""Of one parameter in an answer."""
MAX_REPORT_CHARS = 20_000
"""Forges take more; who reads more reads the run."""


def reply_text(item: Item, about: Sequence[Item], language: Language, people: People = ()) -> str:
    """An answer to a comment, as Markdown."""
    return marks.to_markdown(_reply(item, about, language, people))


def reply_html(item: Item, about: Sequence[Item], language: Language, people: People = ()) -> str:
    """An answer to a comment, for the tracker."""
    return marks.to_html(_reply(item, about, language, people))


def review_text(
    attempt: int, at: str, verdict: ReviewState, text: str, language: Language, *, as_comment: bool = False
) -> str:
    """The reviewer's verdict for the pull request, as Markdown. `as_comment`: it opens nothing, and says so."""
    blocks = _report(Role.REVIEWER, attempt, at, verdict.value, text, language)
    if as_comment:
        blocks.append(Paragraph(spans(in_language(PHRASES["is_commented"], language), {})))
    return marks.to_markdown(blocks)


def report_text(attempt: int, at: str, word: VerdictWord, text: str, language: Language) -> str:
    """The tester's verdict for the pull request, as Markdown."""
    return marks.to_markdown(_report(Role.TESTER, attempt, at, word.value, text, language))


def report_html(attempt: int, at: str, word: VerdictWord, text: str, language: Language) -> str:
    """The tester's verdict for the work item."""
    return marks.to_html(_report(Role.TESTER, attempt, at, word.value, text, language))


def _reply(item: Item, about: Sequence[Item], language: Language, people: People) -> list[Block]:
    blocks: list[Block] = [Paragraph(_told(item, language, people))]
    rows = tuple(_row(one, language, people) for one in about[:MAX_ABOUT])
    return [*blocks, Listing(rows)] if rows else blocks


def _row(item: Item, language: Language, people: People) -> Spans:
    who = who_can(item, language)
    told = _told(item, language, people)
    return (*told, Text(" ("), who, Text(")")) if who else told


def _told(item: Item, language: Language, people: People) -> Spans:
    todo = what_to_do(item, language, people, MAX_CHARS)
    return with_step(what_is(item, language, people, MAX_CHARS), todo)


def _report(role: Role, attempt: int, at: str, word: str, text: str, language: Language) -> list[Block]:
    """What the agent wrote stands as a quotation: nothing in it counts as said by us."""
    params = {
        "role": in_language(ROLES[role], language),
        "head": marks.clean(at, 64),
        "attempt": str(attempt),
        "word": in_language(VERDICT_WORDS.get(word, (word, word)), language),
    }
    head = Paragraph(spans(in_language(PHRASES["report"], language), params))
    if not text.strip():
        return [head, Paragraph(spans(in_language(PHRASES["no_report"], language), {}))]
    cut = [Paragraph(spans(in_language(PHRASES["cut"], language), {}))] if len(text) > MAX_REPORT_CHARS else []
    return [head, Quote(text[:MAX_REPORT_CHARS]), *cut]
