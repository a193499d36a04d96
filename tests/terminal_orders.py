"""Texts that want to rule a terminal, and what must not come through."""

import re
import unicodedata

HOSTILE = (
    "\x1b[31mred\x1b[0m",
    "\x1b[2J\x1b[H\x1b[?1049h",
    "\x1b]0;a title\x07",
    "\x1b]8;;https://evil.test\x1b\\link\x1b]8;;\x1b\\",
    "\x1b]52;c;ZXZpbA==\x07",
    "\x1bP1$r0m\x1b\\",
    "\x1bc",
    "\x1b(0lqqk\x1b(B",
    "\x9b31mred\x9b0m",
    "\x9d0;title\x9c",
    "\x90q\x9c",
    "back\x08\x08\x08\x08over",
    "\rover the line",
    "\a\a\a",
    "nul\x00nul",
    "del\x7fdel",
    "line\nline",
    "\x0b\x0c\x1c\x1d\x1e\x1f\x85",
    "\u2028line\u2029line",
    "\u202ereversed\u202c",
    "\u2066isolated\u2069",
    "\u200e\u200f\u061c",
    "zero\u200bwidth\u200d\ufeff",
    "\u00adsoft",
    "\ufff9anchor\ufffa",
    "\U000e0041tag",
    "\ud800half",
    "[bold red]markup[/]",
    ":boom: emoji codes",
    "\\[escaped",
    "\t\ttabs",
    "a" * 50_000,
    "\u0301" * 200,
    "\ue000private",
)
_OURS = re.compile(r"\x1b\[[0-9;]*m")
"""Colours are all that we say to a terminal in a table or a log."""


def ruling(shown: str) -> list[str]:
    """What of it a terminal obeys, our own colours apart, and what nobody sees."""
    rest = _OURS.sub("", shown).replace("\n", "")
    return sorted({repr(char) for char in rest if unicodedata.category(char)[0] == "C" or char in "\u2028\u2029"})
