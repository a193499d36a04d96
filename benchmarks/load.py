"""A load generator that is cheaper than what it measures: ready bytes, raw connections, the least of parsing.

`python -m benchmarks.load ORDER` (an `Order` as JSON) runs one burst in a process of its own.
"""

import asyncio
import gc
import hashlib
import hmac
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any
from uuid import UUID

import uvloop

from benchmarks.report import percentile
from benchmarks.scale import FIXTURES
from orchestrator.sim.webhook import GiteaEvent, gitea_headers

SMALLEST_BYTES, LARGEST_BYTES = 10_000, 30_000
ANSWER_MAX_BYTES = 64 * 1024
BURST_LIMIT_S = 300.0


@dataclass(frozen=True, slots=True)
class Answer:
    """None: no answer came, so the sender may not assume anything."""

    status: int | None
    seconds: float


@dataclass(slots=True)
class Burst:
    """Sends every request once over a fixed number of connections, each waiting for its answer before the next."""

    port: int
    requests: Sequence[bytes]
    connections: int
    on_answer: Callable[[int], None] | None = None
    answers: dict[int, Answer] = field(default_factory=dict)
    seconds: float = 0.0
    _waiting: Iterator[int] = field(init=False)

    def __post_init__(self) -> None:
        self._waiting = iter(range(len(self.requests)))

    async def run(self) -> None:
        """Ends when all is answered, or every connection is gone."""
        loop = asyncio.get_running_loop()
        lanes = [_Lane(self, loop.create_future()) for _ in range(self.connections)]
        for lane in lanes:
            await loop.create_connection(lambda lane=lane: lane, "127.0.0.1", self.port)  # type: ignore[misc]
        began = time.perf_counter()
        for lane in lanes:
            lane.send()
        async with asyncio.timeout(BURST_LIMIT_S):
            await asyncio.gather(*(lane.gone for lane in lanes))
        self.seconds = time.perf_counter() - began

    def next(self) -> int | None:
        return next(self._waiting, None)

    def note(self, index: int, answer: Answer) -> None:
        self.answers[index] = answer
        if self.on_answer and answer.status is not None:
            self.on_answer(index)


class _Lane(asyncio.Protocol):
    """One kept-alive connection with one request under way."""

    def __init__(self, burst: Burst, gone: "asyncio.Future[None]") -> None:
        self._burst = burst
        self.gone = gone
        self._buffer = b""
        self._index: int | None = None
        self._sent = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport

    def send(self) -> None:
        self._index = None if self._transport.is_closing() else self._burst.next()
        if self._index is None:
            self._transport.close()
            return
        self._sent = time.perf_counter()
        self._transport.write(self._burst.requests[self._index])

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._index is None or not _is_complete(self._buffer):
            return
        status, self._buffer = int(self._buffer[9:12]), b""
        self._burst.note(self._index, Answer(status, time.perf_counter() - self._sent))
        self.send()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        if self._index is not None:
            self._burst.note(self._index, Answer(None, time.perf_counter() - self._sent))
        self.gone.set_result(None)


def _is_complete(answer: bytes) -> bool:
    head, blank, body = answer.partition(b"\r\n\r\n")
    if len(answer) > ANSWER_MAX_BYTES:
        raise ValueError("The answer is larger than any that is expected here.")
    if not blank:
        return False
    length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
    return len(body) >= int(length or 0)


def request(path: str, headers: Mapping[str, str], body: bytes) -> bytes:
    """One POST, ready to be written."""
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    lines += [f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body


def get_request(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()


def pushes(path: str, secret: str, count: int, seed: str) -> list[bytes]:
    """Signed pushes of 10 to 30 kB, no two alike: each has another head commit."""
    sizes = _sized_pushes()
    made = []
    for number in range(count):
        head = hashlib.sha256(f"{seed}/{number}".encode()).hexdigest()
        body = sizes[number % len(sizes)].replace(_HEAD, head[:40].encode())
        headers = gitea_headers(_PUSH, str(UUID(head[:32])), "", body, forgejo=False)
        headers |= _signatures(secret, body)
        made.append(request(path, headers, body))
    return made


_HEAD = b"0123456789abcdef0123456789abcdef01234567"
_PUSH = GiteaEvent("push", "push")


def _signatures(secret: str, body: bytes) -> dict[str, str]:
    sha256 = hmac.new(secret.encode(), body, "sha256").hexdigest()
    named = {"X-Gitea-Signature": sha256, "X-Gogs-Signature": sha256, "X-Hub-Signature-256": f"sha256={sha256}"}
    sha1 = hmac.new(secret.encode(), body, "sha1").hexdigest()
    return {"Content-Type": "application/json", **named, "X-Hub-Signature": f"sha1={sha1}"}


def _sized_pushes() -> list[bytes]:
    """The recorded push, grown by more commits of its own kind until it has the wanted size."""
    recorded = json.loads((FIXTURES / "gitea" / "push.body").read_bytes())
    return [_grown(recorded, size) for size in range(SMALLEST_BYTES, LARGEST_BYTES, 1000)]


def _grown(recorded: Mapping[str, Any], size: int) -> bytes:
    push = {**recorded, "after": _HEAD.decode()}
    commit, body = recorded["commits"][0], b""
    for count in range(1, LARGEST_BYTES):
        push["commits"] = [commit] * count
        body = json.dumps(push, indent=2).encode()
        if len(body) >= size:
            break
    return body


@dataclass(frozen=True, slots=True)
class Order:
    """One burst. An empty `secret` asks for GETs without a body."""

    port: int
    path: str
    secret: str
    count: int
    connections: int
    seed: str


@dataclass(frozen=True, slots=True)
class Result:
    """`busy` is the generator's own share of a core: near 1 it measured itself."""

    per_s: float
    p50_ms: float
    p99_ms: float
    refused: int
    busy: float


def carry_out(order: Order) -> Result:
    requests = (
        pushes(order.path, order.secret, order.count, order.seed)
        if order.secret
        else [get_request(order.path)] * order.count
    )
    burst = Burst(order.port, requests, order.connections)
    gc.disable()
    began = time.process_time()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(burst.run())
    busy = (time.process_time() - began) / burst.seconds
    times = [answer.seconds * 1000 for answer in burst.answers.values()]
    refused = sum(answer.status != 200 for answer in burst.answers.values()) + order.count - len(times)
    return Result(order.count / burst.seconds, percentile(times, 0.5), percentile(times, 0.99), refused, busy)


if __name__ == "__main__":
    print(json.dumps(asdict(carry_out(Order(**json.loads(sys.argv[1]))))))
