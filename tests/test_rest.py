"""What a neighbour may do to a call at the level of bytes: each fault has its kind, nothing hangs, and the next
good answer counts. Both adapters, over real sockets, in moved time: half a minute of silence costs nothing.
"""

import asyncio
import gzip
import json
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from moved import MovedClock, in_moved_time
from orchestrator.domain.errors import OrchestratorError, Permanent, Transient
from orchestrator.domain.model import ProjectId, RepoName, Sha, WorkItemId
from orchestrator.forges.gitea import Gitea
from orchestrator.trackers.plane import Plane
from orchestrator.wire import MAX_ANSWER_BYTES, WHOLE_TIMEOUTS

TIMEOUT_S = 15.0
LONGEST_S = WHOLE_TIMEOUTS * TIMEOUT_S * 2 + 1
"""Of moved time: what a call may take, also one that the library repeats on another connection."""
SETTLE_S = 0.03
"""Of real time: the peer here tells the loop nothing of its work."""
RESET = struct.pack("ii", 1, 0)
Says = Callable[["Caller"], Awaitable[None]]


@dataclass(slots=True)
class Caller:
    """One connection, as the peer sees it."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def request(self) -> str:
        """Method and path of the next one, read whole; empty at the end."""
        try:
            head = await self.reader.readuntil(b"\r\n\r\n")
            lines = head.decode().lower().split("\r\n")
            size = next((int(line.split(":")[1]) for line in lines if line.startswith("content-length:")), 0)
            await self.reader.readexactly(size)
        except (asyncio.IncompleteReadError, ConnectionError):
            return ""
        return " ".join(head.decode().split(" ", 2)[:2])

    async def send(self, said: bytes) -> None:
        """All of it, or as much as is taken."""
        try:
            self.writer.write(said)
            await self.writer.drain()
        except ConnectionError:
            return

    async def gone(self) -> None:
        """Returns when the other side has given up."""
        try:
            await self.reader.read()
        except ConnectionError:
            return

    def reset(self) -> None:
        """RST, not FIN."""
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.writer.transport.abort()


@dataclass(slots=True)
class Peer:
    """Answers each request as `says` does. Its port refuses until `listens`."""

    says: Says
    port: int = 0
    asked: list[str] = field(default_factory=list)
    _server: asyncio.Server | None = None
    _callers: list[Caller] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def bind(self) -> None:
        mine = socket.socket()
        mine.bind(("127.0.0.1", 0))
        self.port = mine.getsockname()[1]
        self._server = await asyncio.start_server(self._meet, sock=mine, start_serving=False)

    async def listens(self) -> None:
        assert self._server
        await self._server.start_serving()

    async def close(self) -> None:
        assert self._server
        self._server.close()
        for caller in self._callers:
            caller.writer.transport.abort()
        await asyncio.sleep(0.1)

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        caller = Caller(reader, writer)
        self._callers.append(caller)
        while asked := await caller.request():
            self.asked.append(asked)
            await self.says(caller)


# -- what it may say


def whole(status: int, body: bytes, **headers: str) -> bytes:
    """An answer as it should be, in bytes."""
    named = {"Content-Length": str(len(body)), **{name.replace("_", "-"): one for name, one in headers.items()}}
    lines = [f"HTTP/1.1 {status} So", *(f"{name}: {one}" for name, one in named.items()), "", ""]
    return "\r\n".join(lines).encode() + body


def said(status: int, body: bytes, **headers: str) -> Says:
    return lambda caller: caller.send(whole(status, body, **headers))


def resets_after(part: bytes) -> Says:
    async def says(caller: Caller) -> None:
        await caller.send(part)
        await asyncio.sleep(0.1)  # a reset overtakes what was not read yet
        caller.reset()

    return says


def ends_after(part: bytes) -> Says:
    async def says(caller: Caller) -> None:
        await caller.send(part)
        caller.writer.close()

    return says


def silent_after(part: bytes) -> Says:
    async def says(caller: Caller) -> None:
        await caller.send(part)
        await caller.gone()

    return says


def late(answer: bytes, seconds: float) -> Says:
    async def says(caller: Caller) -> None:
        await asyncio.sleep(seconds)
        await caller.send(answer)

    return says


async def drips(caller: Caller) -> None:
    """Never silent for long, and never done."""
    await caller.send(b"HTTP/1.1 200 So\r\nContent-Length: 1000\r\n\r\n")
    while not caller.reader.at_eof():
        await caller.send(b" ")
        await asyncio.sleep(TIMEOUT_S / 2)


async def pours(caller: Caller) -> None:
    """A body without an end that says no size."""
    await caller.send(b"HTTP/1.1 200 So\r\nTransfer-Encoding: chunked\r\n\r\n")
    part = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    while not caller.writer.is_closing():
        await caller.send(part)


# -- what is called


@dataclass(frozen=True, slots=True)
class Order:
    """One call of an adapter, and what a neighbour answers to it when it is well."""

    system: str
    give: Callable[[Any], Coroutine[Any, Any, object]]
    status: int
    answer: object

    def well(self) -> bytes:
        return whole(self.status, json.dumps(self.answer).encode(), Content_Type="application/json")

    def adapter(self, url: str, clock: MovedClock) -> Plane | Gitea:
        if self.system == "plane":
            return Plane(url, "x", "acme", timeout_s=TIMEOUT_S, timing=clock.timing)
        return Gitea(url, "x", timeout_s=TIMEOUT_S, timing=clock.timing)


HERE, THIS = ProjectId("0b7b7b7b-0000-4000-8000-000000000001"), WorkItemId("0b7b7b7b-0000-4000-8000-000000000002")
REPO, SHA = RepoName("acme", "enduro-trails"), Sha("a" * 40)
ORDERS = {
    "plane-get": Order("plane", lambda it: it.whoami(), 200, {"id": "me"}),
    "plane-post": Order("plane", lambda it: it.comment(HERE, THIS, "k", "<p>x</p>"), 201, {"id": "c"}),
    "gitea-get": Order("gitea", lambda it: it.whoami(), 200, {"login": "me"}),
    "gitea-post": Order(
        "gitea", lambda it: it.create_branch(REPO, "b", "main"), 201, {"name": "b", "commit": {"id": SHA}}
    ),
}


@dataclass(frozen=True, slots=True)
class Fault:
    """What a neighbour does, and what the adapter makes of it. Parts are of the good answer: `says` gets that."""

    says: Callable[[bytes], Says]
    code: str
    kind: type[OrchestratorError] = Transient
    retry_after_s: float | None = None


def always(says: Says) -> Callable[[bytes], Says]:
    return lambda _: says


def head_of(answer: bytes) -> bytes:
    return answer[: answer.index(b"\r\n\r\n") + 4]


def busy(status: int, wanted_s: float | None, **headers: str) -> Fault:
    return Fault(always(said(status, b"<html>busy</html>", **headers)), "busy", retry_after_s=wanted_s)


TOO_MUCH = MAX_ANSWER_BYTES + 1
FAULTS = {
    "reset-before-the-answer": Fault(lambda _: resets_after(b""), "unreachable"),
    "reset-within-the-headers": Fault(lambda well: resets_after(head_of(well)[:-10]), "unreachable"),
    "reset-after-the-headers": Fault(lambda well: resets_after(head_of(well)), "unreachable"),
    "reset-within-the-body": Fault(lambda well: resets_after(well[:-3]), "unreachable"),
    "ended-before-the-answer": Fault(lambda _: ends_after(b""), "unreachable"),
    "ended-within-the-headers": Fault(lambda well: ends_after(head_of(well)[:-10]), "unreachable"),
    "ended-after-the-headers": Fault(lambda well: ends_after(head_of(well)), "unreachable"),
    "ended-within-the-body": Fault(lambda well: ends_after(well[:-3]), "unreachable"),
    "silent-before-the-answer": Fault(lambda _: silent_after(b""), "unreachable"),
    "silent-within-the-headers": Fault(lambda well: silent_after(head_of(well)[:-10]), "unreachable"),
    "silent-after-the-headers": Fault(lambda well: silent_after(head_of(well)), "unreachable"),
    "silent-within-the-body": Fault(lambda well: silent_after(well[:-3]), "unreachable"),
    "good-after-thirty-seconds": Fault(lambda well: late(well, 30), "unreachable"),
    "a-byte-now-and-then": Fault(always(drips), "unreachable"),
    "no-http": Fault(always(ends_after(b"SSH-2.0-OpenSSH_9.2\r\n")), "unreachable"),
    "no-gzip": Fault(always(said(200, b"\x1f\x8bnot", Content_Encoding="gzip")), "unreachable"),
    "html": Fault(always(said(200, b"<html>Welcome to nginx!</html>")), "odd_answer"),
    "nothing": Fault(always(said(200, b"")), "odd_answer"),
    "no-content": Fault(always(lambda caller: caller.send(b"HTTP/1.1 204 So\r\n\r\n")), "odd_answer"),
    "no-text": Fault(always(said(200, b'{"id": "\xff\xfe", "login": "\xff"}')), "odd_answer"),
    "truncated-json": Fault(lambda well: said(200, well[len(head_of(well)) : -3]), "odd_answer"),
    "a-json-list": Fault(always(said(200, b"[]")), "odd_answer"),
    "a-json-word": Fault(always(said(200, b"null")), "odd_answer"),
    "json-of-another-shape": Fault(always(said(200, b'{"message": "maintenance"}')), "odd_answer"),
    "json-of-other-types": Fault(always(said(200, b'{"id": 7, "login": 7, "name": 7}')), "odd_answer"),
    "deep-json": Fault(always(said(200, b'{"id":' * 50_000)), "odd_answer"),
    "too-large": Fault(always(said(200, b"x" * TOO_MUCH)), "answer_too_large", Permanent),
    "without-end": Fault(always(pours), "answer_too_large", Permanent),
    "too-large-unpacked": Fault(
        always(said(200, gzip.compress(b"x" * TOO_MUCH), Content_Encoding="gzip")), "answer_too_large", Permanent
    ),
    "429": busy(429, None),
    "429-with-seconds": busy(429, 7.0, Retry_After="7"),
    "429-with-a-day": busy(429, 3600.0, Retry_After="86400"),
    "429-with-none": busy(429, 0.0, Retry_After="0"),
    # Plane tells seconds (contract, section 2), and Gitea has no limit: a date is as good as nothing.
    "429-with-a-date": busy(429, None, Retry_After="Sun, 22 Nov 2026 12:00:07 GMT"),
    "429-with-nonsense": busy(429, None, Retry_After="soon"),
    "429-with-less-than-none": busy(429, None, Retry_After="-7"),
    "429-with-other-digits": busy(429, None, Retry_After="\u0663"),
    "429-with-weeks": busy(429, None, Retry_After="9999999"),
    "408": busy(408, None),
    "500": busy(500, None),
    "502": busy(502, None),
    "503-with-seconds": busy(503, 11.0, Retry_After="11"),
    "504": busy(504, None),
}


@asynccontextmanager
async def meeting(order: Order, clock: MovedClock) -> AsyncIterator[tuple[Peer, Plane | Gitea]]:
    """A peer that is well, and an adapter that asks it. What the loop would print as a traceback fails."""
    printed: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: printed.append(context))
    peer = Peer(lambda caller: caller.send(order.well()))
    await peer.bind()
    adapter = order.adapter(peer.url, clock)
    try:
        yield peer, adapter
    finally:
        await adapter.aclose()
        await peer.close()
    assert printed == []


async def fails(order: Order, adapter: Plane | Gitea, clock: MovedClock) -> OrchestratorError:
    begun = clock.monotonic()
    with pytest.raises(OrchestratorError) as error:
        await order.give(adapter)
    assert clock.monotonic() - begun <= LONGEST_S
    return error.value


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_each_fault_of_a_neighbour_has_its_kind_and_the_next_good_answer_counts(
    fault: Fault, order: Order
) -> None:
    async def story(clock: MovedClock) -> None:
        async with meeting(order, clock) as (peer, adapter):
            await peer.listens()
            good = await order.give(adapter)
            well, peer.says = peer.says, fault.says(order.well())
            for _ in range(2):  # on a connection that was kept, and on a new one
                asked = len(peer.asked)
                error = await fails(order, adapter, clock)
                assert (type(error), error.code) == (fault.kind, f"{order.system}_{fault.code}")
                assert getattr(error, "retry_after_s", None) == fault.retry_after_s
                sent = Counter(one.partition(" ")[0] for one in peer.asked[asked:])
                assert sent["GET"] <= 2
                assert sent["POST"] <= 1, "what may have been carried out is not sent again"
                await asyncio.sleep(fault.retry_after_s or 0.0)  # before that nothing is sent
            peer.says = well
            assert [await order.give(adapter) for _ in range(2)] == [good, good]

    in_moved_time(story, SETTLE_S)


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
def test_a_neighbour_that_refuses_connections_is_away_until_it_takes_them(order: Order) -> None:
    async def story(clock: MovedClock) -> None:
        async with meeting(order, clock) as (peer, adapter):
            for _ in range(2):
                error = await fails(order, adapter, clock)
                assert (type(error), error.code) == (Transient, f"{order.system}_unreachable")
            assert peer.asked == []
            await peer.listens()
            assert await order.give(adapter)

    in_moved_time(story, SETTLE_S)
