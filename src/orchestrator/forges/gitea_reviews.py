"""What reviews say at lines of the code. It is others' text, for the agent that works on it next."""

from collections.abc import Iterable

from orchestrator.forges.gitea_api import GiteaApi
from orchestrator.forges.gitea_shapes import LineCommentRow
from orchestrator.forges.text import plain

MAX_COMMENTS = 50
"""Of one review; more is work for a person."""
MAX_COMMENT_CHARS = 1_000
MAX_COMMENTS_CHARS = 6_000
MAX_PATH_CHARS = 200


async def comments_of(api: GiteaApi, review: str) -> str:
    """One call: the server gives all at once, in no order. Should it give pages some day, the first is enough."""
    rows = await api.row(f"{review}/comments", list[LineCommentRow])
    return _within(map(_line, sorted(rows, key=lambda row: row.place)[:MAX_COMMENTS]))


def _line(row: LineCommentRow) -> str:
    path = " ".join(plain(row.path, MAX_PATH_CHARS).split())
    place = f"{path}:{row.position}" if row.position else f"{path} (old line {row.original_position})"
    said = plain(row.body or "", MAX_COMMENT_CHARS).replace("\n", "\n  ")  # no line of it looks like another place
    return f"{place}: {said}"


def _within(lines: Iterable[str]) -> str:
    """Whole comments, as far as they fit: a place without its words helps nobody."""
    kept: list[str] = []
    left = MAX_COMMENTS_CHARS
    for line in lines:
        left -= len(line) + 1
        if left < 0:
            return "\n".join((*kept, "…"))
        kept.append(line)
    return "\n".join(kept)
