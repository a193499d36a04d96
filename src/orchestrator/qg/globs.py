"""Glob patterns of contexts and of paths, as compiled expressions."""

import re
import sys
from functools import lru_cache

_BRACES = {"{": "(?:", "}": ")", ",": "|"}
_SPECIAL = frozenset("*?[{\\")
_ANYWHERE = "**/"
_LAST = chr(sys.maxunicode)
"""Comes after everything that is written."""
_TOKEN = re.compile(r"\\.|\*+/?|\[!?\]?[^\]]*\]|.", re.DOTALL)


def is_plain(pattern: str) -> bool:
    """It stands for itself only."""
    return _SPECIAL.isdisjoint(pattern)


def _plain_range(pattern: str) -> tuple[str, str]:
    """Everything that fits begins as the pattern does, so it lies in this range, its end left out. Much quicker to
    ask for than the whole pattern. Two empty texts: it may be anything.
    """
    first = (place for place, char in enumerate(pattern) if char in _SPECIAL)
    begin = pattern[: next(first, len(pattern))].rstrip(_LAST)
    return (begin, begin[:-1] + chr(ord(begin[-1]) + 1)) if begin else ("", "")


plain_range = lru_cache(maxsize=1024)(_plain_range)


def _context_glob(pattern: str) -> re.Pattern[str]:
    """As the forge reads its required contexts: `*` is any text, slashes included; `{a,b}` is either."""
    return re.compile(f"(?s:{_translated(pattern, star='.*', folders='.*/')})")


context_glob = lru_cache(maxsize=1024)(_context_glob)


def _path_globs(patterns: tuple[str, ...]) -> re.Pattern[str]:
    """Case-folded paths of any of the patterns: `*` stays within a folder, `**/` is any folders, or none. `x/**`
    is `x` itself too, for a link may stand where the folder was.
    """
    folded = [pattern.casefold() for pattern in patterns]
    rooted = [_path(one) for one in folded if not one.startswith(_ANYWHERE)]
    floating = [_path(one.removeprefix(_ANYWHERE)) for one in folded if one.startswith(_ANYWHERE)]
    # What may lie in any folder is looked for in one walk through the path, not in one for each pattern.
    every = [*rooted, *([f"(?s:.*/|)(?:{'|'.join(floating)})"] if floating else [])]
    return re.compile("|".join(f"(?s:{one})" for one in every) or r"(?!)")


path_globs = lru_cache(maxsize=256)(_path_globs)


def _path(pattern: str) -> str:
    body = pattern.removesuffix("/**")
    below = "" if body == pattern else "(?:/.+)?"
    return _translated(body, star="[^/]*", folders="(?:[^/]+/)*") + below


def _translated(pattern: str, *, star: str, folders: str) -> str:
    """Braces that do not pair are plain text."""
    pieces = _TOKEN.findall(pattern)
    is_paired = pieces.count("{") == pieces.count("}")
    depth, parts = 0, []
    for piece in pieces:
        depth += is_paired * ((piece == "{") - (piece == "}"))
        if depth < 0:
            return re.escape(pattern)
        parts.append(_part(piece, star, folders, is_in_braces=depth > 0, is_paired=is_paired))
    return "".join(parts)


def _part(piece: str, star: str, folders: str, *, is_in_braces: bool, is_paired: bool) -> str:
    if piece == "**/":
        return folders
    if piece[0] == "*":
        return (".*" if len(piece.rstrip("/")) > 1 else star) + piece.lstrip("*")
    if piece == "?":
        return "[^/]" if star != ".*" else "."
    if piece[0] == "[" and len(piece) > 1:
        return _class(piece)
    special = _BRACES if is_in_braces else _BRACES | {",": ","}
    return special[piece] if is_paired and piece in special else re.escape(piece[-1])


def _class(piece: str) -> str:
    """`[a-z]` and `[!a]`; one that makes no sense is plain text."""
    inner = re.sub(r"([\\\[^&|~])", r"\\\1", piece[1:-1])
    try:
        return re.compile(f"[{'^' + inner[1:] if inner.startswith('!') else inner}]").pattern
    except re.error:
        return re.escape(piece)
