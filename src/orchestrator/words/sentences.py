"""Codes of the core in the reader's language: what is, and what to do."""

from string import Formatter

from orchestrator.domain.roles import Language
from orchestrator.qg.verdict import LOGIN, Item
from orchestrator.words import marks
from orchestrator.words.items import ITEMS
from orchestrator.words.marks import Code, Span, Spans, Text, clean
from orchestrator.words.names import ACTIONS, COMMENT, OF_PARAMETER, WHO, in_language

MAX_PARAMETER_CHARS = 500
People = tuple[tuple[str, str], ...]
"""Users' ids and the names that people know them by."""


def sentence(item: Item, language: Language = Language.EN, people: People = ()) -> str:
    """What an item says, on one line; a code without words of its own shows its detail."""
    todo = what_to_do(item, language, people) if item.code in ITEMS else ()
    return marks.plain(with_step(what_is(item, language, people), todo), code_mark="`")


def with_step(so: Spans, todo: Spans) -> Spans:
    """How it is and what to do as one sentence."""
    if not todo:
        return so
    return (*so, Text("; " if ": " in marks.plain(so) else ": "), *todo)


def what_is(item: Item, language: Language, people: People = (), max_chars: int = MAX_PARAMETER_CHARS) -> Spans:
    """The first half: how it is."""
    params = _shown(item, language, people, max_chars)
    said = ITEMS.get(item.code)
    if said is None:
        detail = params.get("detail", "")
        code = Text(clean(item.code, max_chars))
        return (code, Text(f": {detail}")) if detail else (code,)
    return spans(in_language(said.is_so(), language), params)


def what_to_do(item: Item, language: Language, people: People = (), max_chars: int = MAX_PARAMETER_CHARS) -> Spans:
    """The second half: the smallest step that supplies it; nothing where there is none."""
    said = ITEMS.get(item.code)
    todo = in_language(said.todo(), language) if said else ""
    if todo:
        return spans(todo, _shown(item, language, people, max_chars))
    if item.action in ACTIONS:
        return spans(in_language(ACTIONS[item.action], language), {})
    if item.action.startswith("/orch"):
        return spans(in_language(COMMENT, language), {"command": clean(item.action, max_chars)})
    return (Code(clean(item.action, max_chars)),) if item.action else ()


def who_can(item: Item, language: Language) -> Span | None:
    """Who can take the step."""
    if item.who in WHO:
        return Text(in_language(WHO[item.who], language))
    return Code(clean(item.who.removeprefix(LOGIN), 60)) if item.who else None


def spans(template: str, params: dict[str, str]) -> Spans:
    """The template's text and parameters; what stands in backquotes *of the template* is code."""
    found: list[Span] = []
    is_code, piece = False, ""
    for literal, name, spec, _ in Formatter().parse(template):
        first, *rest = literal.split("`")
        piece += first
        for part in rest:
            found += [Code(piece) if is_code else Text(piece)] if piece else []
            is_code, piece = not is_code, part
        piece += format(params.get(name) or "?", spec or "") if name else ""
    return (*found, Text(piece)) if piece else tuple(found)


def _shown(item: Item, language: Language, people: People, max_chars: int) -> dict[str, str]:
    """Parameters as people read them: codes in words, ids as names; all on one line and bounded."""
    names = dict(people)
    shown = {}
    for name, value in item.params:
        pairs = OF_PARAMETER.get(name, {})
        word = in_language(pairs[value], language) if value in pairs else value
        shown[name] = clean(names.get(word, word) if name == "person" else word, max_chars)
    return shown
