"""The texts of a task's documents, for people to read: as they are at the branch's head, and as once approved.

Nothing rests on them: gates look for themselves. So whatever cannot be read is said, and the page goes on.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

from orchestrator.domain.errors import OrchestratorError
from orchestrator.domain.forge import FileEntry
from orchestrator.domain.model import Project, RepoName, Sha, parse_sha
from orchestrator.domain.roles import DocumentName
from orchestrator.ports import Forge
from orchestrator.reconcile.documents import named
from orchestrator.store.views import TaskView

MAX_BYTES = 128 * 1024
"""Of each text; people read no more of one page."""
MAX_REMEMBERED = 128
PATIENCE_S = 4.0
"""Then the page goes on without what the forge did not tell."""

Key = TypeVar("Key")
Value = TypeVar("Value")
Blob = Callable[[RepoName, str, int], Awaitable[bytes | None]]


@dataclass(frozen=True, slots=True)
class Unread:
    """Why a text cannot be shown. `what` is how long was waited, the blob, or what somebody else said of it."""

    code: Literal["no_answer", "not_there", "other"]
    what: str


@dataclass(frozen=True, slots=True)
class Paper:
    """A document at the head. `approved` is the blob that people approved last, empty when they have none; a text
    is None where it could not be read, and then `fault` says why, or nobody asked.
    """

    name: DocumentName
    path: str
    blob: str
    text: str | None = None
    approved: str = ""
    approved_text: str | None = None
    fault: Unread | None = None


class Papers:
    """Remembers what never changes: the listing of a commit, the text of a blob."""

    def __init__(self, forge: Forge | None, project: Callable[[RepoName], Project | None], blob: Blob) -> None:
        self._forge = forge
        self._project = project
        self._blob = blob
        self._texts: dict[str, str] = {}
        self._lists: dict[tuple[RepoName, str, str], Sequence[FileEntry]] = {}

    async def of(
        self, task: TaskView, approved: Mapping[DocumentName, str]
    ) -> tuple[Sequence[Paper], Unread | None]:
        """Those that are there, in their order; and why there may be more, when the forge could not be asked."""
        if task.repo is None or task.head_sha is None or self._forge is None:
            return (), None
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await self._read(self._forge, task, approved), None
        except TimeoutError:
            return (), Unread("no_answer", f"{PATIENCE_S:g}")
        except (OrchestratorError, ValueError) as fault:
            return (), Unread("other", str(fault))

    async def _read(self, forge: Forge, task: TaskView, approved: Mapping[DocumentName, str]) -> Sequence[Paper]:
        repo, head, folder = RepoName.parse(task.repo or ""), parse_sha(task.head_sha or ""), f"tasks/{task.key}"
        project = self._project(repo)
        if project is None:
            return ()
        listed = {entry.path: entry for entry in await self._list(forge, repo, folder, head)}
        found = []
        for name in DocumentName:
            entry = listed.get(f"{folder}/{named(project.documents, name)}")
            if entry:
                paper = Paper(name, entry.path, entry.blob, approved=approved.get(name, ""))
                found.append(await self._with_texts(forge, repo, head, paper))
        return found

    async def _list(self, forge: Forge, repo: RepoName, folder: str, head: Sha) -> Sequence[FileEntry]:
        place = (repo, folder, head)
        if place not in self._lists:
            entries = await forge.files(repo, folder, head)
            _forget(self._lists)
            self._lists[place] = entries
        return self._lists[place]

    async def _with_texts(self, forge: Forge, repo: RepoName, head: Sha, paper: Paper) -> Paper:
        async def at_head() -> bytes | None:
            return await forge.file(repo, paper.path, head, max_bytes=MAX_BYTES)

        async def once() -> bytes | None:
            return await self._blob(repo, paper.approved, MAX_BYTES)

        text, fault = await self._text(paper.blob, at_head)
        if not paper.approved or paper.approved == paper.blob:
            return replace(paper, text=text, fault=fault)
        before, missing = await self._text(paper.approved, once)
        return replace(paper, text=text, approved_text=before, fault=fault or missing)

    async def _text(
        self, blob: str, read: Callable[[], Awaitable[bytes | None]]
    ) -> tuple[str | None, Unread | None]:
        """A blob never changes, so its text is read once. The fault of one is not the fault of all."""
        if blob in self._texts:
            return self._texts[blob], None
        try:
            raw = await read()
        except OrchestratorError as fault:
            return None, Unread("other", fault.message)
        if raw is None:
            return None, Unread("not_there", blob[:10])
        _forget(self._texts)
        self._texts[blob] = raw[:MAX_BYTES].decode("utf-8", "replace")
        return self._texts[blob], None


def _forget(known: dict[Key, Value]) -> None:
    """The oldest, so that there is room for one more."""
    while len(known) >= MAX_REMEMBERED:
        del known[next(iter(known))]
