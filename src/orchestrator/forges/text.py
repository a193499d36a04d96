"""Text that goes out to people on a forge. Much of it others wrote, and the forge acts on what it says."""

import re
from collections.abc import Collection

from orchestrator.domain.errors import Permanent

MAX_CHARS = 30_000
MAX_TITLE_CHARS = 200
MAX_DESCRIPTION_CHARS = 200
_LOG_BYTES_A_CHAR = 8
"""Up to 4 in UTF-8, and as much again for colours, which are taken out."""
_INSIDE_A_CHAR = bytes(range(0x80, 0xC0))
_CUT = "\n\n…"
_GAP = "\u200b"
"""A space of no width: what reads the same to people and means nothing to the forge."""
_KEY = re.compile(r"[A-Za-z0-9:._/#=-]{1,200}")
_HIDDEN_LINE = re.compile(r"<!-- ([A-Za-z0-9:._/#= -]{1,200}) -->")
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff\U000e0000-\U000e007f]"
)
_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
_MENTION = re.compile(r"@(?=\S)([0-9A-Za-z_.-]*(?:/[0-9A-Za-z_.-]+)?)")
_REFERENCE = re.compile(r"([#!])(?=[0-9]|[xX][0-9A-Fa-f])")
"""Of issues and pull requests, and the numeric entities by which a character could be written in another way."""
_ADDRESS = re.compile(r"/(issues|pulls)/(?=[0-9])")


def hidden(key: str) -> str:
    """The line by which a text of ours is found again; nobody sees it."""
    key = _unwrapped(key)
    if not _KEY.fullmatch(key) or "--" in key:
        raise Permanent("bad_marker", f"{key[:80]!r} cannot be hidden in a text.")
    return f"<!-- {key} -->"


def first_line(text: str) -> str:
    """The hidden line that a text begins with; empty when it begins with none."""
    line = text.partition("\n")[0].rstrip("\r ")
    return line if _HIDDEN_LINE.fullmatch(line) and line.count("--") == 2 else ""


def outgoing(text: str, may_mention: Collection[str] = ()) -> str:
    """The text with its own hidden first line kept, and all the rest made harmless."""
    marker = first_line(text)
    rest = text.partition("\n")[2] if marker else text
    return "\n".join(part for part in (marker, harmless(rest, may_mention)) if part)


def harmless(text: str, may_mention: Collection[str] = (), own: str = "") -> str:
    """Bounded, without invisible characters, and naming nobody and nothing: no mention (other than those that
    are asked for) rings, no reference links or closes an issue, and nothing is hidden in it.

    `own` (`/acme/shop/pulls/7`) is the page that the text is for: an address of it refers to nothing else.
    """
    shown = _UNSEEN.sub("", _ANSI.sub("", text.replace("\r\n", "\n")))
    shown = shown if len(shown) <= MAX_CHARS else shown[:MAX_CHARS] + _CUT
    shown = shown.replace("<!--", f"<{_GAP}!--")
    shown = _MENTION.sub(lambda found: _mention(found, may_mention), shown)
    shown = _REFERENCE.sub(rf"\1{_GAP}", shown)
    return _ADDRESS.sub(lambda found: found[0] if _is_of(found, own) else f"/{found[1]}/{_GAP}", shown)


def one_line(text: str, max_chars: int) -> str:
    """As above, for a title or a description."""
    line = " ".join(_ANSI.sub("", text).split())
    line = line if len(line) <= max_chars else line[: max_chars - 1] + "…"
    return harmless(line)


def plain(text: str, max_chars: int) -> str:
    """The beginning of what somebody wrote, as plain lines."""
    shown = _plain(text)
    return shown if len(shown) <= max_chars else shown[: max_chars - 1] + "…"


def log_end(raw: bytes, max_chars: int) -> str:
    """The end of a program's output as plain lines; what a terminal would obey is gone.

    Only the end is cleaned: a whole log would hold up everybody else for seconds.
    """
    end = raw[-max_chars * _LOG_BYTES_A_CHAR :]
    if len(end) < len(raw):
        end = end.partition(b"\n")[2] or end.lstrip(_INSIDE_A_CHAR)
    return _plain(end.decode(errors="replace"))[-max_chars:].strip()


def _plain(text: str) -> str:
    return _UNSEEN.sub("", _ANSI.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))).strip()


def _unwrapped(key: str) -> str:
    found = _HIDDEN_LINE.fullmatch(key)
    return found[1] if found else key


def _is_of(found: re.Match[str], own: str) -> bool:
    """The whole number too: 7 is not 77."""
    where, kind = found.string, f"{found[0]}"
    repo, _, number = own.partition(kind)
    begin, end = found.start() - len(repo), found.end() + len(number)
    is_there = bool(number) and begin >= 0 and where[begin:end] == own
    return is_there and not where[end : end + 1].isdigit()


def _mention(found: re.Match[str], may_mention: Collection[str]) -> str:
    asked = {name.lower() for name in may_mention}
    name = found[1].rstrip(".-")
    return found[0] if name.lower() in asked else f"@{_GAP}{found[1]}"
