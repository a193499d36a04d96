"""Documents as people read them: Markdown without HTML of its own, and what changed between two texts.

What agents wrote is hostile: HTML in it stays text, and what comes out is cleaned once more by a list of tags.
"""

import asyncio
import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import nh3
from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup

from orchestrator.web.formats import seen

MAX_CHARS = 60_000
"""Of one document; more is not rendered, and the page says so."""
MAX_LINES = 1500
MAX_DIFF_LINES = 600
TAGS = {
    *("h3", "h4", "h5", "h6", "p", "ul", "ol", "li", "blockquote", "pre", "code", "em", "strong", "s", "hr", "br"),
    *("a", "table", "thead", "tbody", "tr", "th", "td"),
}
_DEEPER = 2
"""A document's title stands below the page's and its section's."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a difference; `kind` is add, del, at (a place) or same."""

    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Reading:
    """A text as it is shown."""

    html: Markup
    is_cut: bool


async def read(text: str) -> Reading:
    """In a thread: a long text takes a while."""
    return await asyncio.to_thread(rendered, text)


async def difference(before: str, after: str) -> Sequence[Line]:
    return await asyncio.to_thread(compared, before, after)


@lru_cache(maxsize=64)
def rendered(text: str) -> Reading:
    """The same text is asked for each time that its page is."""
    shown: str = seen(text[:MAX_CHARS])
    parser = MarkdownIt("commonmark", {"html": False, "maxNesting": 12}).enable(["table", "strikethrough"])
    parser = parser.disable("image")
    tokens = [_lower(token) for token in parser.parse(shown)]
    html = parser.renderer.render(tokens, parser.options, {})
    clean = nh3.clean(
        html,
        tags=TAGS,
        attributes={"a": {"href"}},
        attribute_filter=_elsewhere,
        link_rel="noreferrer noopener nofollow",
    )
    return Reading(Markup(clean), len(text) > MAX_CHARS)  # noqa: S704 - cleaned by nh3, by a list of tags


def _elsewhere(_tag: str, _name: str, value: str) -> str | None:
    """A relative link means another file of the repository: here it would lead to a page of ours."""
    return value if value.lower().startswith(("http://", "https://", "mailto:")) else None


def _lower(token: Token) -> Token:
    if token.type in {"heading_open", "heading_close"}:
        token.tag = f"h{min(int(token.tag[1]) + _DEEPER, 6)}"
    return token


@lru_cache(maxsize=64)
def compared(before: str, after: str) -> Sequence[Line]:
    """Unified, with three lines around each change; bounded."""
    old, new = (text.splitlines()[:MAX_LINES] for text in (before, after))
    lines = list(difflib.unified_diff(old, new, lineterm="", n=3))[2:]
    return tuple(Line(_KINDS.get(line[:1], "same"), line[:2000]) for line in lines[:MAX_DIFF_LINES])


_KINDS = {"+": "add", "-": "del", "@": "at"}
