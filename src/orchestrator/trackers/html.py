"""Plane keeps text as HTML only (contract section 1); agents and people read plain text.

Everything here takes time in proportion to its input. The standard library's HTMLParser does not: 40,000
characters of `<a ` kept it busy for 20 s, and it raises on some declarations.
"""

import html as entities
import re
import unicodedata
from collections.abc import Iterable, Iterator

MAX_CHARS = 200_000
MAX_SPOKEN_CHARS = 50_000
"""Of a comment. What commands does so in its first lines."""
MAX_LINES = 5000
MAX_LINE_CHARS = 2_000
MAX_DEPTH = 100


def _tags(names: str) -> frozenset[str]:
    return frozenset(names.split())


_BLOCKS = _tags(
    "p div br li ul ol h1 h2 h3 h4 h5 h6 pre blockquote tr table hr dl dt dd section article header footer "
    "figure figcaption details summary"
)
_UNSHOWN = frozenset({"script", "style"})
_QUIET = _tags("code pre blockquote q kbd samp tt s del strike")
"""Said by somebody else, shown as an example, or taken back."""
_NEVER = _tags(
    "script style template textarea title xmp iframe noembed noframes noscript plaintext svg math object select "
    "head body html form button listing marquee applet"
)
"""The editor writes none of them, and programs disagree on where they end."""
_VOID = _tags("br hr img input wbr col area base embed link meta source track param")
_IMPLIED = _tags("p li dt dd tr td th thead tbody tfoot colgroup")
"""Their end tags may be left out."""
_HIDING = re.compile(
    r"\b(hidden|invisible|sr-only|collapse|opacity-0|data-checked|taskItem)\b"
    r"|\bstyle\s*+=(?!\s*+([\"'])\s*+text-align\s*+:\s*+\w++\s*+;?+\s*+\2)",
    re.IGNORECASE,
)
_ATTRIBUTES = r"""(?:\s++[^\s"'<>/=]++(?:\s*+=\s*+(?:"[^"]*+"|'[^']*+'|[^\s"'=<>`]++))?+)*+"""
_TOKEN = re.compile(
    rf"(?P<text>[^<]++)|<(?P<end>/?)(?P<tag>[A-Za-z][A-Za-z0-9:-]*+)(?P<attributes>{_ATTRIBUTES})\s*+/?+>"
    r"|(?P<comment><!--(?:.*?-->|.*)|<[!?][^>]*+>?+)|(?P<odd><)",
    re.DOTALL,
)
_THING = "\ufffc"
"""Stands where something other than text is: code within a line, a picture, a mention."""
_UNSEEN = "\0"
_FENCE = re.compile(r"(`{3,}(?=[^`]*$)|~{3,})(.*)")
_JOINERS = "\u200d\ufe0f"
"""Parts of emoji. They are kept, so that a word with one of them inside stays another word."""
_BLANK = frozenset("\u115f\u1160\u2800\u3164\uffa0\u034f\u17b4\u17b5")
"""Letters by category, but nothing is to be seen of them."""


def to_text(html: str) -> str:
    """Plain text with a line for each block; bounded, never raises."""
    parts: list[str] = []
    hidden = ""
    for token in _TOKEN.finditer(html[:MAX_CHARS]):
        tag = (token["tag"] or "").lower()
        if hidden:
            hidden = "" if tag == hidden and token["end"] else hidden
        elif tag in _UNSHOWN and not token["end"]:
            hidden = tag
        elif tag:
            parts += ["\n"] * (tag in _BLOCKS) + ["- "] * (tag == "li" and not token["end"])
        elif not token["comment"]:
            parts.append(entities.unescape(token[0]))
    lines = (" ".join(line.split()) for line in "".join(parts).splitlines())
    return "\n".join(line for line in lines if line)


# -- what was said


def spoken(html: str) -> tuple[str, ...]:
    """The lines that somebody said himself: text outside code, preformatted blocks, quotes and struck-out text,
    whether they are marked by tags or, as many write by habit, in Markdown.

    An approval is read from this, so doubt means silence. Markup that two programs could read in two ways
    (comments and declarations, a stray `<`, tags that are not nested, elements that no editor writes) says
    nothing at all. A line is what tags break off: a line feed in the text is a space, as on the screen.
    Something that is no text leaves a mark in its line, so that `:appr<code>x</code>oved:` is not a word.
    Invisible characters are taken away at a line's ends, where they change nothing, and become U+FFFD within:
    who wrote `:app<zero width>roved:` meant it not to act, and taking it away would make it act.
    """
    is_cut = len(html) > MAX_SPOKEN_CHARS
    try:
        text = _Speech().read(html[:MAX_SPOKEN_CHARS].rpartition("<")[0] if is_cut else html)
    except _OddError:
        return ()
    # The last line of what was cut may have gone on: `:approved:` and then ` never`.
    lines = text.split("\n")[: -1 if is_cut else None]
    shown = _unquoted(_line(line) for line in lines)
    return tuple(line for line in shown if line.strip(f"{_THING} "))[:MAX_LINES]


def _unquoted(lines: Iterable[str]) -> Iterator[str]:
    """Without what stands between fences of Markdown, and behind `>`. A fence that nobody closes hides the rest.

    As in Markdown, only a line of the same characters, at least as many, and nothing else closes a fence.
    """
    fence = ""
    for line in lines:
        text = line.strip(f"{_THING} ")
        found = _FENCE.match(text)
        if fence:
            is_end = found is not None and found[1].startswith(fence) and not found[2]
            fence = "" if is_end else fence
        elif found:
            fence = found[1]
        elif not text.startswith(">"):
            yield line


class _OddError(Exception):
    """Not the plain, nested markup that an editor writes."""


class _Speech:
    """Walks through the tokens with the open elements on a stack."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._open: list[str] = []
        self._quiet_from = 0  # depth of the outermost element that is not speech; 0: we are listening

    def read(self, html: str) -> str:
        for token in _TOKEN.finditer(html):
            if token["text"]:
                self._say(token["text"])
            elif not token["tag"] or token["tag"].lower() in _NEVER:
                raise _OddError
            elif token["end"]:
                self._close(token["tag"].lower())
            else:
                self._start(token["tag"].lower(), entities.unescape(token["attributes"]))
        return "".join(self._parts)

    def _say(self, text: str) -> None:
        if not self._quiet_from:
            self._parts.append(_visible(entities.unescape(text)))

    def _start(self, tag: str, attributes: str) -> None:
        is_quiet = tag in _QUIET or _HIDING.search(attributes) is not None
        if tag in _BLOCKS:
            self._parts.append("\n")
        elif is_quiet or tag in _VOID or "-" in tag or ":" in tag:
            self._parts.append(_THING)
        elif tag in {"td", "th"}:
            self._parts.append(" ")
        if tag in _VOID:
            return
        self._open.append(tag)
        if len(self._open) > MAX_DEPTH:
            raise _OddError
        if is_quiet and not self._quiet_from:
            self._quiet_from = len(self._open)

    def _close(self, tag: str) -> None:
        while self._open and self._open[-1] != tag and self._open[-1] in _IMPLIED:
            self._open.pop()
        if not self._open or self._open.pop() != tag:
            raise _OddError
        if len(self._open) < self._quiet_from:
            self._quiet_from = 0
        if tag in _BLOCKS:
            self._parts.append("\n")


def _visible(text: str) -> str:
    """White space as spaces; what cannot be seen as `_UNSEEN`."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(" " if char.isspace() else _UNSEEN if _is_unseen(char) else char for char in text)


def _is_unseen(char: str) -> bool:
    if char in _JOINERS:
        return False
    is_selector = "\ufe00" <= char <= "\ufe0f" or "\U000e0100" <= char <= "\U000e01ef"
    return is_selector or char in _BLANK or unicodedata.category(char) in {"Cc", "Cf", "Co", "Cs"}


def _line(text: str) -> str:
    shown = " ".join(text.split(" ")).strip(f" {_UNSEEN}{_JOINERS}")
    return " ".join(shown.replace(_UNSEEN, "\ufffd").split())[:MAX_LINE_CHARS]
