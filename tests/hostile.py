"""Texts as somebody would write them who wants to be more than a text."""

CONTROLS = (
    "".join(map(chr, (*range(9), 11, 12, *range(14, 32), *range(127, 160)))) + "\u202e\u2066\u200f\u2028\ufeff"
)
HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'><svg/onload=alert(1)>",
    "javascript:alert(1)",
    "{{ 7*7 }}{% raw %}",
    "\x1b[31mred\x1b]8;;http://evil.example\x07link\x1b]8;;\x07",
    "</title></textarea></style><script src=//evil.example></script>",
    "a\r\nSet-Cookie: x=1",
    f"controls{CONTROLS}end",
)
RAW = frozenset(CONTROLS) - {"\u2028"}
"""None of these is ever in a page. A separator of lines is no control character, and shows as a gap."""
