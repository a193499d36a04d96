"""Under a real uvicorn: what only shows on a socket."""

import asyncio
import hashlib
import hmac
import re
import threading
import time
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
import uvicorn

from orchestrator.domain.errors import Transient
from orchestrator.domain.events import Delivery
from orchestrator.domain.model import Source
from orchestrator.store.journal import Recorded
from orchestrator.webhooks import deadline
from orchestrator.webhooks.direct import direct_protocol
from orchestrator.webhooks.receiver import Receiver

SECRET = b"s3cret"
TIMEOUT_S = 1.0
PATIENCE_S = 30.0
CAP = 5 * 1024 * 1024
BODY = b'{"event":"project","action":"created"}'


class WallClock:
    def now(self) -> datetime:
        return datetime(2026, 11, 22, tzinfo=UTC)

    def monotonic(self) -> float:
        return time.monotonic()


class Site:
    """The webhook and, beside it, a /health, a route that ignores its body, and one that answers slowly."""

    def __init__(self, timeout_s: float = TIMEOUT_S, *, is_unsigned_allowed: bool = False) -> None:
        self.stored: list[Delivery] = []
        self.timeout_s = timeout_s
        self.fault: Exception | None = None
        self.gate = threading.Event()
        self.gate.set()
        self.ordinary = 0  # requests that went through ASGI
        self.webhook = Receiver(
            source=Source.PLANE,
            secrets=[SECRET],
            accept=self.accept,
            clock=WallClock(),
            max_body_bytes=CAP,
            receive_timeout_s=timeout_s,
            allow_unsigned_loopback=is_unsigned_allowed,
        )

    async def accept(self, delivery: Delivery) -> Recorded:
        await asyncio.to_thread(self.gate.wait, PATIENCE_S)
        if self.fault is not None:
            raise self.fault
        is_new = delivery.body_sha256 not in {one.body_sha256 for one in self.stored}
        self.stored.append(delivery)
        return Recorded(is_new, None)

    def taker(self, path: str) -> Receiver | None:
        return self.webhook if path == "/webhook/plane" else None

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        self.ordinary += 1
        if scope["path"] == "/webhook/plane":
            await self.webhook(scope, receive, send)
            return
        if scope["path"] == "/slow":
            await asyncio.sleep(3 * TIMEOUT_S)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})


@contextmanager
def serving(site: Site, **limits: Any) -> Iterator[int]:
    protocol = direct_protocol(site.timeout_s, site.taker, **limits)
    config = uvicorn.Config(
        site,
        host="127.0.0.1",
        port=0,
        http=protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        timeout_keep_alive=int(2 * PATIENCE_S),  # whoever waits for the server to close has given up by then
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    give_up = time.monotonic() + PATIENCE_S
    while not server.started:
        assert thread.is_alive()
        assert time.monotonic() < give_up
        time.sleep(0.01)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


@pytest.fixture
def site() -> Site:
    return Site()


@pytest.fixture
def port(site: Site) -> Iterator[int]:
    with serving(site) as port:
        yield port


class Socket:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def until_closed(self) -> bytes:
        """All that still comes. Ends only when the server closes: otherwise the test fails here."""
        data = b""
        async with asyncio.timeout(PATIENCE_S):
            try:
                while chunk := await self.reader.read(65536):
                    data += chunk
            except ConnectionError:
                pass
        self.writer.close()
        return data

    async def answer(self) -> bytes:
        """One answer, on a connection that stays."""
        async with asyncio.timeout(PATIENCE_S):
            head = await self.reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            return head + await self.reader.readexactly(length)


async def connect(port: int) -> Socket:
    return Socket(*await asyncio.open_connection("127.0.0.1", port))


async def healthy(port: int) -> bool:
    socket = await connect(port)
    await socket.send(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    return (await socket.until_closed()).endswith(b"ok")


def head(*lines: bytes) -> bytes:
    first = b"POST /webhook/plane HTTP/1.1"
    return b"\r\n".join([first, b"Host: x", b"Content-Type: application/json", *lines]) + b"\r\n\r\n"


def request(body: bytes = BODY) -> bytes:
    signature = hmac.new(SECRET, body, hashlib.sha256).hexdigest().encode()
    return head(b"X-Plane-Signature: " + signature, b"Content-Length: %d" % len(body)) + body


async def test_200_half_open_sockets_are_all_closed_while_health_answers(port: int) -> None:
    starts = [b"", b"P", b"\r\n", b"POST /webhook/plane HTTP/1.1\r\nHost: x\r\nX-A: "]
    sockets = [await connect(port) for _ in range(200)]
    for number, socket in enumerate(sockets):
        await socket.send(starts[number % len(starts)])
    closed = asyncio.gather(*(socket.until_closed() for socket in sockets))
    answers = 0
    while not closed.done():
        # The short deadline holds for this request, too: one that a busy machine kept back for as long is closed.
        asked = time.monotonic()
        is_answered = await healthy(port)
        assert is_answered or time.monotonic() - asked >= TIMEOUT_S
        answers += is_answered
    assert await closed == [b""] * 200
    assert answers > 0
    while not await healthy(port):
        pass


async def trickle(socket: Socket, byte: bytes, stop: asyncio.Event) -> None:
    while not stop.is_set():
        try:
            await socket.send(byte)
        except ConnectionError:
            return
        await asyncio.sleep(0.05)


async def ended(socket: Socket, byte: bytes) -> bytes:
    """What the server says before it ends a connection on which `byte` keeps dripping."""
    stop = asyncio.Event()
    dripping = asyncio.create_task(trickle(socket, byte, stop))
    try:
        return await socket.until_closed()
    finally:
        stop.set()
        await dripping


@pytest.mark.parametrize("begin", [b"", b"GET /health HTTP/1.1\r\nX-A: "])
@pytest.mark.parametrize("byte", [b"\n", b"a"])
async def test_headers_that_trickle_are_ended(port: int, begin: bytes, byte: bytes) -> None:
    socket = await connect(port)
    await socket.send(begin)
    await ended(socket, byte)


async def test_a_body_that_trickles_is_answered_and_ended(site: Site, port: int) -> None:
    socket = await connect(port)
    await socket.send(head(b"Content-Length: 1000"))
    answer = await ended(socket, b" ")
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"body_timeout" in answer
    assert site.stored == []


async def test_a_body_that_trickles_into_a_route_that_ignores_it_is_ended(port: int) -> None:
    socket = await connect(port)
    await socket.send(b"POST /health HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n")
    assert b"ok" in await ended(socket, b"x")


async def test_a_second_request_that_never_ends_is_ended_too(site: Site, port: int) -> None:
    socket = await connect(port)
    await socket.send(request())
    assert (await socket.answer()).endswith(b'{"status":"accepted"}')
    await socket.send(b"POST /webhook/plane HT")
    assert await socket.until_closed() == b""
    assert len(site.stored) == 1


@pytest.mark.parametrize("byte", [b"\n", b"\r\n"])
async def test_empty_lines_after_a_request_do_not_hold_the_connection(port: int, byte: bytes) -> None:
    socket = await connect(port)
    await socket.send(request())
    await socket.answer()
    assert await ended(socket, byte) == b""


async def test_a_connection_that_waits_for_its_next_request_is_left_to_keep_alive(port: int) -> None:
    socket = await connect(port)
    await socket.send(request())
    assert b'{"status":"accepted"}' in await socket.answer()
    await asyncio.sleep(2.5 * TIMEOUT_S)  # longer than both deadlines, in which nothing may happen
    await socket.send(request())
    assert b'{"status":"duplicate"}' in await socket.answer()
    socket.writer.close()


@pytest.mark.parametrize("after", [b"\r\n", b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n", b"GET /hea"])
async def test_an_answer_that_takes_longer_than_the_deadline_still_arrives(port: int, after: bytes) -> None:
    socket = await connect(port)
    await socket.send(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n" + after)
    assert (await socket.answer()).endswith(b"ok")
    socket.writer.close()


async def test_pipelined_requests_are_all_answered(site: Site, port: int) -> None:
    socket = await connect(port)
    await socket.send(request() * 3)
    said = [(await socket.answer()).rpartition(b"\r\n")[2] for _ in range(3)]
    assert said == [b'{"status":"accepted"}', *[b'{"status":"duplicate"}'] * 2]
    assert len(site.stored) == 3
    socket.writer.close()


async def drown(socket: Socket, chunk: bytes, most: int) -> int:
    sent = 0
    try:
        while sent < most:
            await socket.send(chunk)
            sent += len(chunk)
    except ConnectionError:
        return sent
    return sent


async def test_a_sender_of_25_megabytes_can_send_them_all_and_then_sees_why_not() -> None:
    # As a plain HTTP library does it: send, then read. A connection reset on the way would be taken for a failure.
    size = 25 * 1024 * 1024
    site = Site(timeout_s=PATIENCE_S)
    with serving(site) as port:
        socket = await connect(port)
        await socket.send(head(b"Content-Length: %d" % size))
        assert await drown(socket, b"x" * 65536, size) == size
        assert b" 413 " in await socket.until_closed()
        assert site.stored == []
        assert await healthy(port)


async def test_endless_chunks_are_refused_and_ended() -> None:
    site = Site(timeout_s=PATIENCE_S)  # so that it is the size that ends them
    with serving(site) as port:
        socket = await connect(port)
        await socket.send(head(b"Transfer-Encoding: chunked"))
        chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
        sent = asyncio.create_task(drown(socket, chunk, 10**9))
        assert b" 413 " in await socket.answer()
        await socket.until_closed()
        assert await sent < 10**8
        assert site.stored == []
        assert await healthy(port)


async def test_endless_headers_are_ended_by_their_size() -> None:
    with serving(Site(timeout_s=10 * PATIENCE_S)) as port:
        socket = await connect(port)
        await socket.send(b"GET /health HTTP/1.1\r\n")
        sent = asyncio.create_task(drown(socket, b"X-A: " + b"a" * 1000 + b"\r\n", 10**9))
        assert await socket.until_closed() == b""
        assert await sent < 10**8


async def test_an_endless_message_is_ended_by_its_size() -> None:
    with serving(Site(timeout_s=10 * PATIENCE_S), max_message_bytes=10**6) as port:
        socket = await connect(port)
        await socket.send(b"POST /health HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n")
        assert b"ok" in await socket.answer()
        sent = asyncio.create_task(drown(socket, b"X-A: " + b"a" * 1000 + b"\r\n", 10**9))
        await socket.until_closed()
        assert await sent < 10**8


@pytest.mark.parametrize(
    "rubbish", [b"\x16\x03\x01\x02\x00", b"GET\r\n\r\n", b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n"]
)
async def test_what_is_no_http_is_answered_400_and_closed(port: int, rubbish: bytes) -> None:
    socket = await connect(port)
    await socket.send(rubbish)
    assert (await socket.until_closed()).startswith(b"HTTP/1.1 400 ")


def test_the_deadline_is_per_class() -> None:
    make: Callable[[float], type[asyncio.Protocol]] = deadline.protocol_with_deadline
    assert make(1.0) is not make(2.0)


# -- the short way of a delivery that arrived whole


def signed(*lines: bytes, body: bytes = BODY, version: bytes = b"1.1") -> bytes:
    signature = hmac.new(SECRET, body, hashlib.sha256).hexdigest().encode()
    length = b"Content-Length: %d" % len(body)
    return head(b"X-Plane-Signature: " + signature, length, *lines).replace(b"HTTP/1.1", b"HTTP/" + version) + body


def in_chunks(*chunks: bytes) -> bytes:
    """A signed request whose body tells its length by and by (RFC 9112, section 7.1)."""
    whole = b"".join(chunks)
    headers = signed(b"Transfer-Encoding: chunked", body=whole).removesuffix(whole)
    headers = headers.replace(b"Content-Length: %d\r\n" % len(whole), b"")
    return headers + b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in (*chunks, b""))


REQUESTS = {
    "accepted": signed(),
    "told to close": signed(b"Connection: close"),
    "in one chunk": in_chunks(BODY),
    "in three chunks": in_chunks(BODY[:1], BODY[1:5], BODY[5:]),
    "of HTTP 1.0": signed(version=b"1.0"),
    "unsigned": head(b"Content-Length: %d" % len(BODY)) + BODY,
    "no JSON": signed(body=b"rubbish"),
    "no body": signed(body=b""),
    "a form": signed().replace(b"application/json", b"application/x-www-form-urlencoded"),
    "encoded": signed(b"Content-Encoding: gzip"),
    "got": signed().replace(b"POST", b"GET"),
    "too large": signed(body=b"x" * (CAP + 1)),
}
FAULTS = {
    "the database is locked": Transient("database_unavailable", "Locked.", retry_after_s=7),
    "something broke": RuntimeError("broken"),
}


async def told(port: int, whole: bytes, *, pieces: bool) -> bytes:
    """What is said to a request, without the time, and to the end where it says so; with `pieces` the last byte of
    the request comes late.
    """
    socket = await connect(port)
    if pieces:
        await socket.send(whole[:-1])
        await asyncio.sleep(0.05)  # both ways are right whenever it arrives: this only makes the long one likely
    await socket.send(whole[-1:] if pieces else whole)
    answer = re.sub(rb"\r\ndate: [^\r]*", b"", await socket.answer())
    if b"connection: close" in answer:
        assert await socket.until_closed() == b""
    socket.writer.close()
    return answer


@pytest.mark.parametrize("name", REQUESTS)
async def test_a_whole_request_is_answered_as_one_in_pieces(name: str) -> None:
    answers = []
    for pieces in (False, True):
        site = Site(timeout_s=PATIENCE_S)
        with serving(site) as port:
            answers.append((await told(port, REQUESTS[name], pieces=pieces), len(site.stored)))
    assert answers[0] == answers[1]
    assert answers[0][0].startswith(b"HTTP/1.1 ")


@pytest.mark.parametrize("name", FAULTS)
async def test_a_fault_of_the_store_is_answered_as_to_one_in_pieces(name: str) -> None:
    answers = []
    for pieces in (False, True):
        site = Site(timeout_s=PATIENCE_S)
        site.fault = FAULTS[name]
        with serving(site) as port:
            answers.append(await told(port, signed(), pieces=pieces))
            assert site.stored == []
            assert await healthy(port)
    assert answers[0] == answers[1]
    assert answers[0].startswith((b"HTTP/1.1 503 ", b"HTTP/1.1 500 "))


async def test_what_arrives_whole_is_taken_without_asgi_and_the_rest_is_not(site: Site, port: int) -> None:
    socket = await connect(port)
    await socket.send(signed())
    assert b"accepted" in await socket.answer()
    assert site.ordinary == 0
    await socket.send(head(b"Content-Length: 2") + b"{}")
    assert b"401" in await socket.answer()
    assert site.ordinary == 1
    await socket.send(signed())
    assert b"duplicate" in await socket.answer()
    assert site.ordinary == 1
    socket.writer.close()


OTHER = BODY.rstrip(b"}") + b',"other":"%b"}' % (b"x" * 5000)


@pytest.mark.parametrize(
    ("sent", "bodies"),
    [
        (signed(body=OTHER), [OTHER]),
        (in_chunks(OTHER[:10], OTHER[10:4000], OTHER[4000:]), [OTHER]),
        (in_chunks(*[OTHER[at : at + 1] for at in range(len(OTHER))]), [OTHER]),
        (signed() + signed(body=OTHER), [BODY, OTHER]),
        (in_chunks(BODY[:3], BODY[3:]) + signed(body=OTHER) + signed(), [BODY, OTHER, BODY]),
        (signed(b"Content-Encoding: gzip") + signed(body=OTHER), [OTHER]),
    ],
)
async def test_every_body_is_stored_as_it_was_sent(
    site: Site, port: int, sent: bytes, bodies: list[bytes]
) -> None:
    socket = await connect(port)
    await socket.send(sent)
    give_up = time.monotonic() + PATIENCE_S
    while len(site.stored) < len(bodies) and time.monotonic() < give_up:
        assert await healthy(port)
    assert [one.payload for one in site.stored] == bodies
    socket.writer.close()


async def test_what_is_not_whole_is_not_taken_even_if_it_could_be() -> None:
    """Signed, the beginning of a body is never taken; unsigned, it may well be JSON."""
    site = Site(timeout_s=PATIENCE_S, is_unsigned_allowed=True)
    with serving(site) as port:
        socket = await connect(port)
        await socket.send(
            head(b"Content-Length: %d" % (len(BODY) + 1)).replace(b"Host: x", b"Host: 127.0.0.1") + BODY
        )
        assert await healthy(port)  # so the beginning was read before
        await socket.send(b"x")
        assert b" 400 " in await socket.answer()
        assert site.stored == []
        socket.writer.close()


async def test_who_waits_to_be_asked_for_the_body_is_asked(site: Site, port: int) -> None:
    socket = await connect(port)
    whole = signed(b"Expect: 100-continue")
    await socket.send(whole.removesuffix(BODY))
    async with asyncio.timeout(PATIENCE_S):
        assert await socket.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    await socket.send(BODY)
    assert b"accepted" in await socket.answer()
    assert len(site.stored) == 1
    socket.writer.close()


async def test_ways_may_change_within_one_connection(site: Site, port: int) -> None:
    socket = await connect(port)
    await socket.send(signed() + b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n" + signed() + signed()[:-5])
    said = [(await socket.answer()).rpartition(b"\r\n")[2] for _ in range(3)]
    await socket.send(signed()[-5:])
    said.append((await socket.answer()).rpartition(b"\r\n")[2])
    assert said == [b'{"status":"accepted"}', b"ok", *[b'{"status":"duplicate"}'] * 2]
    socket.writer.close()


async def test_a_sender_that_leaves_early_is_stored_and_harms_nobody(site: Site, port: int) -> None:
    site.gate.clear()
    socket = await connect(port)
    await socket.send(signed())
    socket.writer.transport.abort()
    assert await healthy(port)
    site.gate.set()
    give_up = time.monotonic() + PATIENCE_S
    while not site.stored and time.monotonic() < give_up:
        assert await healthy(port)
    assert len(site.stored) == 1


async def test_a_delivery_under_way_is_answered_before_the_server_ends() -> None:
    site = Site(timeout_s=PATIENCE_S)
    site.gate.clear()
    with serving(site) as port:
        socket = await connect(port)
        await socket.send(signed())
        assert await healthy(port)  # so the delivery was read before
        ends = asyncio.create_task(socket.until_closed())
        opens = threading.Timer(0.2, site.gate.set)
        opens.start()
    opens.join()
    assert (await ends).endswith(b'{"status":"accepted"}')
    assert len(site.stored) == 1
