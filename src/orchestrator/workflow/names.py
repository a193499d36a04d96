"""Names that leave us: branches and document paths. Made from titles, so everything odd is dropped."""

import re
import unicodedata

from anyascii import anyascii

from orchestrator.domain.roles import Role

MAX_SLUG = 48
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_]{0,30}-[0-9]{1,12}")


def is_key(text: str) -> bool:
    """A key is part of paths and refs: letters, digits, underscores, one dash, a number."""
    return _KEY.fullmatch(text) is not None


def slug(title: str) -> str:
    """`Маршрут: импорт GPX` → `marshrut-import-gpx`; empty when nothing readable is left."""
    letters = "".join(char if unicodedata.category(char)[0] in "LNP" else " " for char in title[:500])
    words = re.findall(r"[a-z0-9]+", anyascii(letters).lower())
    text = ""
    for word in words:
        longer = f"{text}-{word}" if text else word[:MAX_SLUG]
        if len(longer) > MAX_SLUG:
            break
        text = longer
    return text


def branch_name(key: str, title: str) -> str:
    """`feature/<KEY>-<slug>`, or `feature/<KEY>` when the title has no readable word."""
    tail = slug(title)
    return f"feature/{key}-{tail}" if tail else f"feature/{key}"


def posted_branch_name(key: str, role: Role) -> str:
    """The branch of a task that was posted through the API."""
    return f"feature/{key}-{role}"
