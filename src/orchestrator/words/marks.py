"""A small document (paragraphs, lists, quotes) that is written as Markdown, as HTML or as a plain line.

Foreign text is only ever put into spans, so it stays text in each of them. Everything takes time in proportion to
its length.
"""

import html
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import quote

MAX_ADDRESS_CHARS = 500
_GAP = "\u2060"
"""A joiner of no width: reads the same, and is part of no name."""
_MENTION = re.compile(r"@(?=\S)")
_REFERENCE = re.compile(r"([#!])(?=[0-9])")
_SPECIAL = re.compile(r"[\\`*_\[\]<>~&$]")
_BLANK = frozenset("\u115f\u1160\u2800\u3164\uffa0\u034f\u17b4\u17b5")
_ADDRESS = re.compile(r"https?://[^\s/?#]", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Text:
    """Words within a line."""

    text: str


@dataclass(frozen=True, slots=True)
class Strong:
    """Words that stand out."""

    text: str


@dataclass(frozen=True, slots=True)
class Code:
    """A name, or what is to be typed. Never taken for a command of ours."""

    text: str


@dataclass(frozen=True, slots=True)
class Link:
    """A label that leads to an address."""

    text: str
    address: str


Span = Text | Strong | Code | Link
Spans = tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Paragraph:
    """One line of text."""

    spans: Spans


@dataclass(frozen=True, slots=True)
class Listing:
    """Points, one line each."""

    rows: tuple[Spans, ...]


@dataclass(frozen=True, slots=True)
class Quote:
    """What somebody else wrote, line by line; in Markdown it stays Markdown, without images and HTML that shows
    something else than itself.
    """

    text: str


Block = Paragraph | Listing | Quote


def clean(text: str, max_chars: int) -> str:
    """One line of what can be seen, bounded: no control characters, no marks of direction, no half characters."""
    text = text[: 4 * max_chars + 100]
    if not (text.isascii() and text.isprintable()):
        text = _without_unseen(text)
    line = " ".join(text.split())
    return line if len(line) <= max_chars else line[: max(max_chars - 1, 0)] + "…"


def _without_unseen(text: str) -> str:
    """Long texts have few different characters, so each of these is looked at once."""
    unseen = [ord(char) for char in set(text) if not (char.isspace() or is_seen(char))]
    return text.translate(dict.fromkeys(unseen)) if unseen else text


def is_seen(char: str) -> bool:
    """It leaves something on the screen."""
    return unicodedata.category(char)[0] != "C" and char not in _BLANK and not "\ufe00" <= char <= "\ufe0f"


def is_address(text: str) -> bool:
    """It can be linked to."""
    if len(text) > MAX_ADDRESS_CHARS or not text.isprintable() or " " in text or not _ADDRESS.match(text):
        return False
    return len(html.escape(_exact(text))) <= MAX_ADDRESS_CHARS


def plain(spans: Iterable[Span], *, code_mark: str = "") -> str:
    """One line without marks; `code_mark` goes around code."""
    return "".join(f"{code_mark}{span.text}{code_mark}" if isinstance(span, Code) else span.text for span in spans)


# -- Markdown


def to_markdown(blocks: Iterable[Block]) -> str:
    """For a forge. Nothing in it rings, refers to an issue, or begins a block that is not ours."""
    return "\n\n".join(_markdown_block(block) for block in blocks)


def _markdown_block(block: Block) -> str:
    match block:
        case Paragraph(spans):
            return _markdown(spans)
        case Listing(rows):
            return "\n".join(f"- {_markdown(row)}" for row in rows)
        case Quote(text):
            return "\n".join(f"> {line}".rstrip() for line in _quotable(text).split("\n"))


def _markdown(spans: Spans) -> str:
    return "".join(_markdown_span(span) for span in spans)


def _markdown_span(span: Span) -> str:
    match span:
        case Text(text):
            return _escaped(text)
        case Strong(text):
            return f"**{_escaped(text)}**"
        case Code(text):
            return f"`{_silent(text.replace('`', chr(39)))}`"
        case Link(text, address):
            return f"[{_escaped(text)}](<{_exact(address)}>)" if is_address(address) else _escaped(text)


def _escaped(text: str) -> str:
    return _silent(_SPECIAL.sub(lambda found: f"\\{found[0]}", text))


def _silent(text: str) -> str:
    return _REFERENCE.sub(rf"\1{_GAP}", _MENTION.sub(f"@{_GAP}", text))


def _exact(address: str) -> str:
    return quote(address, safe=":/?#[]!$&'*+,;=%~")


_IMAGE = re.compile(r"!(?=\[)")
_SHOWING = re.compile(
    r"<(?=/?(?:a|area|audio|base|button|details|div|embed|form|frame|iframe|image|img|input|link|math|meta|object"
    r"|p|picture|script|source|span|style|summary|svg|table|track|video)\b)",
    re.IGNORECASE,
)


def _quotable(text: str) -> str:
    """An image becomes a link, and HTML text. Otherwise the Markdown stays as it is, code in it above all."""
    return _silent(_SHOWING.sub("< ", _IMAGE.sub("! ", _lines(text))))


def _lines(text: str) -> str:
    """Lines of what can be seen; other line ends than ours are ends too."""
    lines = text.strip().splitlines()
    return "\n".join("".join(char for char in line if char == "\t" or is_seen(char)) for line in lines)


# -- HTML


def to_html(blocks: Iterable[Block]) -> str:
    """For a tracker: nested, escaped, without attributes but a link's address."""
    return "".join(_html_block(block) for block in blocks)


def _html_block(block: Block) -> str:
    match block:
        case Paragraph(spans):
            return f"<p>{_html(spans)}</p>"
        case Listing(rows):
            return "<ul>" + "".join(f"<li><p>{_html(row)}</p></li>" for row in rows) + "</ul>"
        case Quote(text):
            lines = (html.escape(_silent(line)) for line in _lines(text).split("\n"))
            return f"<blockquote><p>{'<br>'.join(lines)}</p></blockquote>"


def _html(spans: Spans) -> str:
    return "".join(_html_span(span) for span in spans)


def _html_span(span: Span) -> str:
    text = html.escape(_silent(span.text))
    match span:
        case Text():
            return text
        case Strong():
            return f"<strong>{text}</strong>"
        case Code():
            return f"<code>{text}</code>"
        case Link(_, address):
            return f'<a href="{html.escape(_exact(address))}">{text}</a>' if is_address(address) else text
