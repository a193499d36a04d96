"""What a gate wants to know of a document's text. Pure; a blob never changes, so each is read once."""

import asyncio
import re

from orchestrator.domain.forge import FileEntry
from orchestrator.domain.model import DocumentFiles, RepoName, Sha
from orchestrator.domain.roles import DocumentName
from orchestrator.ports import Forge

MAX_BYTES = 512 * 1024
LONG_BYTES = 16 * 1024
"""More takes so long to read that nobody else should wait meanwhile."""
MAX_HEADINGS = 200
MAX_REMEMBERED = 2000
_FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})")
_HEADING = re.compile(r"^ {0,3}#{1,6}[ \t]+(.+)$")
_UNENDED = re.compile(r"^ {0,3}<!--", re.MULTILINE)
_READY = re.compile(r"^(?:status|статус):[ \t]*ready for dev\.?$", re.IGNORECASE)
_MARKS = "*_` \t"


class Text:
    """The answers about one text, in time in proportion to its length. What is fenced or commented out says
    nothing: an example of a heading is no heading, and what nobody sees is no text.
    """

    __slots__ = ("headings", "is_blank", "is_ready")

    def __init__(self, raw: bytes) -> None:
        said = _outside_code(raw.decode("utf-8-sig", "replace").splitlines())
        lines = _outside_comments("\n".join(said)).split("\n")
        found = [_heading(match[1]) for line in lines if (match := _HEADING.match(line))]
        self.headings = tuple(found[:MAX_HEADINGS])
        self.is_ready = any(_READY.match(line.strip(_MARKS)) for line in lines)
        self.is_blank = not any(line.strip() and not _HEADING.match(line) for line in lines)


def _outside_comments(text: str) -> str:
    """As a forge shows it: one that begins a line and never ends hides the rest."""
    kept, at = [], 0
    while (begin := text.find("<!--", at)) >= 0 and (end := text.find("-->", begin)) >= 0:
        kept.append(text[at:begin])
        at = end + len("-->")
    rest = text[at:]
    unended = _UNENDED.search(rest)
    return "".join((*kept, rest[: unended.start()] if unended else rest))


def _heading(text: str) -> str:
    """Without the marks that may stand behind it, too."""
    return text.rstrip("#").strip(_MARKS)[:200]


def _outside_code(lines: list[str]) -> list[str]:
    kept, fence = [], ""
    for line in lines:
        mark = _FENCE.match(line)
        if mark and not fence:
            fence = mark[1]
        elif mark and mark[1].startswith(fence):
            fence = ""
        elif not fence:
            kept.append(line)
    return kept


class Library:
    """Texts by blob, bounded: the oldest are forgotten and read again when they are wanted."""

    def __init__(self) -> None:
        self._texts: dict[str, Text] = {}

    async def text(self, forge: Forge, repo: RepoName, entry: FileEntry, at: Sha) -> Text | None:
        """None when it went away between the listing and the reading."""
        if entry.blob not in self._texts:
            raw = await forge.file(repo, entry.path, at, max_bytes=MAX_BYTES)
            if raw is None:
                return None
            while len(self._texts) >= MAX_REMEMBERED:
                del self._texts[next(iter(self._texts))]
            self._texts[entry.blob] = await asyncio.to_thread(Text, raw) if len(raw) > LONG_BYTES else Text(raw)
        return self._texts[entry.blob]


def named(files: DocumentFiles, name: DocumentName) -> str:
    """The file name of a document under tasks/<KEY>/."""
    return str(getattr(files, name))
