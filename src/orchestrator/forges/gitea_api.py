"""Asks Gitea's REST API: one row, or all pages of them. The closed list of requests is held by a test."""

from collections.abc import Callable, Mapping
from typing import Protocol, TypeVar

from orchestrator.domain.errors import Permanent
from orchestrator.forges.gitea_shapes import MadeRow, is_fault
from orchestrator.pace import Circuit, Timing
from orchestrator.rest import Answer, RestClient, System
from orchestrator.wire import OpenWire, Wire

PAGE_ROWS = 50
MAX_PAGES = 40
MISSING = frozenset({404})
_GITEA = System(
    "gitea",
    "Gitea",
    "ORCH_GITEA_URL",
    "Check ORCH_GITEA_TOKEN: it needs read:repository, write:repository, write:issue and read:user, "
    "and its user must be a collaborator who may write.",
    moved_hint="The repository was renamed, or moved to another owner: put its new name into orchestrator.yaml "
    "and restart. If it is so with every repository, correct ORCH_GITEA_URL: it leads elsewhere (https, perhaps).",
    archived_hint="Unarchive the repository, or remove its project from orchestrator.yaml and restart.",
    is_own_404=is_fault,
)
T = TypeVar("T")


class Numbered(Protocol):
    """A row that is told from others by its number."""

    @property
    def id(self) -> int: ...


N = TypeVar("N", bound=Numbered)


class GiteaApi:
    """One server, asked as one user."""

    def __init__(self, url: str, token: str, timeout_s: float, timing: Timing, wire: OpenWire = Wire) -> None:
        self.circuit = Circuit(_GITEA.code, timing)
        headers = {"Authorization": f"token {token}"}
        self._rest = RestClient(
            _GITEA,
            f"{url}/api/v1/",
            headers,
            timeout_s,
            circuit=self.circuit,
            scope_of=_scope,
            wire=wire,
        )
        self.system, self.answers = _GITEA.code, self._rest.answers
        self.call = self._rest.call
        self.decoded = self._rest.decoded
        self.fault = self._rest.fault

    async def aclose(self) -> None:
        await self._rest.aclose()

    async def row(self, path: str, wanted: type[T], **query: str) -> T:
        return self.decoded((await self.call("GET", path, query=query)).body, wanted)

    def done(self, answer: Answer) -> None:
        """It has the number of what was made or changed, so no proxy gave it."""
        self.decoded(answer.body, MadeRow)

    async def row_if_there(self, path: str, wanted: type[T], **query: str) -> T | None:
        answer = await self.call("GET", path, query=query, understood=MISSING)
        return None if answer.status == 404 else self.decoded(answer.body, wanted)

    async def rows(self, path: str, wanted: type[N], query: Mapping[str, str] | None = None) -> list[N]:
        """All of them; raises Permanent for more than we read: a part of the truth is none."""
        return _whole(path, await self.first_rows(path, wanted, query, MAX_PAGES))

    async def rows_within(self, path: str, page: type[T], within: Callable[[T], list[N]]) -> list[N]:
        """As above, for answers that wrap their rows; Forgejo answers an empty object when there are none."""

        def read(body: bytes) -> list[N]:
            return [] if body.strip() == b"{}" else within(self.decoded(body, page))

        return _whole(path, await self._pages(path, read, {}, MAX_PAGES))

    async def first_rows(
        self, path: str, wanted: type[N], query: Mapping[str, str] | None, max_pages: int
    ) -> tuple[list[N], bool]:
        """The rows of the first pages, and whether that was all."""

        def read(body: bytes) -> list[N]:
            return self.decoded(body, list[wanted])  # type: ignore[valid-type]

        return await self._pages(path, read, query or {}, max_pages)

    async def _pages(
        self, path: str, read: Callable[[bytes], list[N]], query: Mapping[str, str], max_pages: int
    ) -> tuple[list[N], bool]:
        found: dict[int, N] = {}
        for page in range(1, max_pages + 1):
            asked = {**query, "limit": str(PAGE_ROWS), "page": str(page)}
            answer = await self.call("GET", path, query=asked)
            known = len(found)
            found |= {row.id: row for row in read(answer.body)}
            if _is_last(answer, page, len(found), is_new=len(found) > known):
                return list(found.values()), True
        return list(found.values()), False


def _scope(method: str, path: str) -> str:
    """A refusal is about this kind of call in this repository: what the token may do otherwise goes on."""
    return " ".join((method, *path.split("/")[:4]))


def _whole(path: str, read: tuple[list[N], bool]) -> list[N]:
    rows, is_whole = read
    if not is_whole:
        raise Permanent(
            "gitea_too_many",
            f"Gitea has more than {MAX_PAGES * PAGE_ROWS} rows for {path}, so no decision can rest on them.",
        )
    return rows


def _is_last(answer: Answer, page: int, known: int, *, is_new: bool) -> bool:
    """The total is a hint: it counts rows that we may not see, and a server may cut pages shorter than asked or
    know no pages at all. So without it, or short of it, only a page with nothing new is the end.
    """
    total = answer.headers.get("X-Total-Count", "")
    told = int(total) if total.isascii() and total.isdigit() and len(total) < 10 else None
    if told is not None and known >= told:
        return True
    return not is_new and (told is None or page * PAGE_ROWS >= told)
