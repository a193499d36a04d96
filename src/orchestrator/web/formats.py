"""Values as pages show them: ages, sums, counts. Pure; the words come from the catalogue."""

from collections.abc import Iterable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from markupsafe import Markup, escape

from orchestrator.domain.roles import Language
from orchestrator.qg.verdict import Item
from orchestrator.web.catalogue import Words
from orchestrator.words.marks import Code, Span, Spans, Strong, is_seen
from orchestrator.words.names import GATES, OF_PARAMETER, OUTCOMES, WHO, Pair, in_language
from orchestrator.words.sentences import People, what_is, what_to_do, who_can

_UNITS = (("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1))
_THIN = "\u202f"
KEPT = 1000
"""Sentences that are kept: of the cards on a board, most wait for the same few things."""
RUN_STATES: dict[str, Pair] = {
    "intended": ("waits for a start", "ждёт запуска"),
    "running": ("at work", "работает"),
}
_NAMES: dict[str, dict[str, Pair]] = {
    **OF_PARAMETER,
    "gate_name": GATES,
    "who": WHO,
    "outcome": OUTCOMES,
    "run_state": RUN_STATES,
}


def seen(value: Any) -> Any:
    """What any expression of a template shows: no control characters, no marks of direction, no half characters.

    Line ends and tabs stay. Markup stays markup.
    """
    if not isinstance(value, str) or (value.isascii() and value.isprintable()):
        return value
    unseen = [ord(char) for char in set(value) if char not in "\n\t" and not is_seen(char)]
    return value.translate(dict.fromkeys(unseen)) if unseen else value


def age(t: Words, seconds: float) -> str:
    """One unit is enough to see what is old: `3 min`, `2 d`."""
    whole = max(int(seconds), 0)
    for name, size in _UNITS:
        if whole >= size:
            return t(f"time.{name}", count=whole // size)
    return t("time.now")


def spell(t: Words, seconds: float) -> str:
    """Finer than an age: `2.5 d` and `3 d` differ by half a working day."""
    for name, size, most in (("second", 1, 90), ("minute", 60, 90), ("hour", 3600, 48)):
        if seconds < size * most:
            return t(f"time.{name}", count=_tenths(seconds / size))
    return t("time.day", count=_tenths(seconds / 86_400))


def _tenths(number: float) -> str:
    return f"{number:.1f}".removesuffix(".0") if number < 10 else f"{number:.0f}"


def ago(t: Words, seconds: float) -> str:
    return t("time.ago", age=age(t, seconds)) if seconds >= 1 else t("time.now")


def stamp(moment: datetime) -> str:
    """For machines: what `<time datetime>` asks for."""
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def utc(moment: datetime) -> str:
    """For people, to the second."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "seconds") + " UTC"


def money(usd: float) -> str:
    """Cents, and less than a cent is said to be that."""
    return "<$0.01" if 0 < usd < 0.005 else f"${usd:,.2f}".replace(",", _THIN)


def count(number: int) -> str:
    return f"{number:,}".replace(",", _THIN)


def short(number: int) -> str:
    """`1 234`, `56k`, `7.8M`: for tokens, of which nobody wants the last digit."""
    if number < 10_000:
        return count(number)
    if number < 1_000_000:
        return f"{number // 1000}k"
    return f"{number / 1_000_000:.1f}M"


def named(language: Language, kind: str, code: str) -> str:
    """A code of the core in words; one without words stands for itself."""
    pairs = _NAMES[kind]
    return in_language(pairs[code], language) if code in pairs else code


def say(language: Language, t: Words, key: str, values: Iterable[tuple[str, str]]) -> str:
    """Words of the catalogue, with values that are codes of the core in words, too."""
    return t(key, **{name: named(language, name, value) if name in _NAMES else value for name, value in values})


@lru_cache(KEPT)
def so(language: Language, people: People, item: Item) -> Markup:
    """How it is."""
    return _markup(what_is(item, language, people))


@lru_cache(KEPT)
def todo(language: Language, people: People, item: Item) -> Markup:
    """The smallest step that supplies it; empty where there is none."""
    return _markup(what_to_do(item, language, people))


def who(language: Language, item: Item) -> Markup:
    """Who can take the step; empty where nobody has to."""
    found = who_can(item, language)
    return _markup((found,) if found else ())


def _markup(spans: Spans) -> Markup:
    """Foreign text is in spans, and is escaped in each."""
    return Markup("".join(_span(span) for span in spans))  # noqa: S704 - see above


def _span(span: Span) -> str:
    match span:
        case Code(text):
            return f"<code>{escape(text)}</code>"
        case Strong(text):
            return f"<strong>{escape(text)}</strong>"
        case _:
            return str(escape(span.text))
