"""In which order a look reads. Its tracker and its forge tell only what is asked here."""

from dataclasses import dataclass, field
from pathlib import PurePosixPath

import pytest

from green import PROJECT, TASK
from orchestrator.domain.forge import FileEntry
from orchestrator.domain.model import Branch, ProjectId, RepoName, Sha, WorkItemId
from orchestrator.domain.tracker import Comment
from orchestrator.loglimit import Complaints
from orchestrator.reconcile.observe import Forges, Observed, Observer
from orchestrator.workflow.needs import Look

HEAD = Sha("a" * 40)
WANTED = frozenset({Look.DOCUMENTS, Look.REMARKS})


@dataclass
class Neighbours:
    """Tracker and forge in one, with these files on every branch."""

    names: tuple[str, ...]
    asked: list[str] = field(default_factory=list)

    async def whoami(self) -> str:
        return "bot"

    async def comments(self, _project: ProjectId, _item: WorkItemId) -> tuple[Comment, ...]:
        self.asked.append("comments")
        return ()

    async def files(self, _repo: RepoName, folder: str, _at: Sha) -> tuple[FileEntry, ...]:
        self.asked.append("files")
        return tuple(FileEntry(str(PurePosixPath(folder, name)), "blob", 9) for name in self.names)

    async def file(self, _repo: RepoName, _path: str, _at: Sha, *, max_bytes: int) -> bytes:
        return b"# Goal\nText"[:max_bytes]


async def asked(names: tuple[str, ...], known: Observed) -> list[str]:
    there = Neighbours(names)
    observer = Observer(there, Forges(there), lambda *_: [], Complaints())  # type: ignore[arg-type]  # it has what is asked here
    await observer.look(PROJECT, TASK, WANTED, known)
    return there.asked


async def test_comments_are_read_after_documents() -> None:
    assert await asked(("BRD.md",), Observed(branch=Branch("b", HEAD))) == ["files", "comments"]


@pytest.mark.parametrize(("names", "calls"), [((), ["files"]), (("BRD.md",), ["files", "comments"])])
async def test_comments_that_were_read_ahead_are_read_again_where_there_are_documents(
    names: tuple[str, ...], calls: list[str]
) -> None:
    """Else one that was written before a document could be numbered after it, and approve what nobody had read."""
    assert await asked(names, Observed(branch=Branch("b", HEAD), comments=())) == calls
