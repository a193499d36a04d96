"""The only way out of a confined run leads to the model's API, and nowhere else."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from orchestrator.agents.forwarder import CONNECTIONS_MAX, HEAD_MAX_BYTES, Forwarder, Target


@asynccontextmanager
async def serving(forwarder: Forwarder) -> AsyncIterator[int]:
    listener = socket.create_server(("127.0.0.1", 0))
    task = asyncio.create_task(forwarder.serve(listener))
    try:
        yield listener.getsockname()[1]
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@asynccontextmanager
async def far_end(answer: bytes = b"") -> AsyncIterator[tuple[int, list[bytes]]]:
    """Answers once and shows what it was sent; without an answer it echoes."""
    seen: list[bytes] = []

    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(ConnectionError):
                while piece := await reader.read(65536):
                    seen.append(piece)
                    writer.write(answer or piece)
                    await writer.drain()
        finally:
            writer.transport.abort()
            met.release()

    begun, met = 0, asyncio.Semaphore(0)

    async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal begun
        begun += 1
        await meet(reader, writer)

    async with await asyncio.start_server(count, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1], seen
        async with asyncio.timeout(20):
            for _ in range(begun):
                await met.acquire()


async def asked(port: int, head: bytes) -> tuple[bytes, asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head)
    return await reader.readline(), reader, writer


def to(port: int, **changes: object) -> Target:
    settings: dict[str, object] = {"scheme": "https", "host": "localhost", "is_named": True} | changes
    return Target(port=port, **settings)  # type: ignore[arg-type]


async def test_a_tunnel_to_the_api_carries_both_ways() -> None:
    async with far_end() as (port, _), serving(Forwarder(to(port))) as way:
        first, reader, writer = await asked(way, b"CONNECT LOCALHOST.:%d HTTP/1.1\r\n\r\n" % port)
        assert first == b"HTTP/1.1 200 Connection established\r\n"
        assert await reader.readline() == b"\r\n"
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()


ELSEWHERE = [
    b"CONNECT 169.254.169.254:80 HTTP/1.1",
    b"CONNECT 127.0.0.1:%d HTTP/1.1",
    b"CONNECT [::1]:%d HTTP/1.1",
    b"CONNECT localhost:1 HTTP/1.1",
    b"CONNECT localhost HTTP/1.1",
    b"CONNECT localhost.evil.test:%d HTTP/1.1",
    b"CONNECT evil.test:%d HTTP/1.1",
    b"CONNECT evillocalhost:%d HTTP/1.1",
    b"CONNECT localhost:%d SPDY/3",
    b"CONNECT localhost@evil.test:%d HTTP/1.1",
    b"GET http://localhost:%d/ HTTP/1.1",
    b"GET https://localhost:%d/ HTTP/1.1",
    b"GET / HTTP/1.1",
    b"CONNECT localhost:99999 HTTP/1.1",
    b"CONNECT localhost:-1 HTTP/1.1",
    b"\x16\x03\x01\x02\x00",
]


@pytest.mark.parametrize("line", ELSEWHERE)
async def test_every_other_address_and_every_other_form_is_refused(line: bytes) -> None:
    async with far_end() as (port, seen), serving(Forwarder(to(port))) as way:
        head = line % port if b"%d" in line else line
        first, _, writer = await asked(way, head + b"\r\n\r\n")
        assert first.split(b" ")[1] in {b"400", b"403"}, first
        assert seen == []
        writer.close()


async def test_the_apis_own_name_that_leads_to_a_private_address_is_refused() -> None:
    """As when somebody rules the name's answers. An operator's own address may be private."""
    async with far_end() as (port, seen), serving(Forwarder(to(port, is_named=False))) as way:
        first, _, writer = await asked(way, b"CONNECT localhost:%d HTTP/1.1\r\n\r\n" % port)
        assert b"403" in first
        assert seen == []
        writer.close()


async def test_a_plain_request_is_rewritten_and_is_the_only_one_of_its_connection() -> None:
    async with (
        far_end(b"HTTP/1.1 200 OK\r\n\r\n") as (port, seen),
        serving(Forwarder(to(port, scheme="http"))) as way,
    ):
        head = b"POST http://localhost:%d/v1/messages?beta=true HTTP/1.1\r\nHost: localhost\r\n" % port
        kept = b"Proxy-Authorization: Basic eA==\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n"
        first, _, writer = await asked(way, head + kept)
        writer.close()
    assert first == b"HTTP/1.1 200 OK\r\n"
    assert b"".join(seen) == (
        b"POST /v1/messages?beta=true HTTP/1.1\r\nHost: localhost\r\n"
        b"Content-Length: 0\r\nConnection: close\r\n\r\n"
    )


async def test_the_operators_proxy_is_asked_for_the_tunnel() -> None:
    async with far_end(b"HTTP/1.1 200 OK\r\n\r\n") as (port, seen):
        target = Target("https", "api.example.org", 443, is_named=False, upstream=f"http://127.0.0.1:{port}")
        async with serving(Forwarder(target)) as way:
            first, _, writer = await asked(way, b"CONNECT api.example.org:443 HTTP/1.1\r\n\r\n")
            writer.close()
    assert b"200" in first
    assert seen[0].startswith(b"CONNECT api.example.org:443 HTTP/1.1\r\n")


async def test_a_proxy_that_refuses_and_an_api_that_is_away_are_told() -> None:
    async with far_end(b"HTTP/1.1 407 No\r\n\r\n") as (port, _):
        refusing = Target("https", "api.example.org", 443, is_named=False, upstream=f"http://127.0.0.1:{port}")
        async with serving(Forwarder(refusing)) as way:
            first, _, writer = await asked(way, b"CONNECT api.example.org:443 HTTP/1.1\r\n\r\n")
            writer.close()
            assert b"502" in first
    async with serving(Forwarder(to(1))) as way:
        first, _, writer = await asked(way, b"CONNECT localhost:1 HTTP/1.1\r\n\r\n")
        writer.close()
        assert b"502" in first


@pytest.mark.parametrize(("sent", "head_s"), [(4 * HEAD_MAX_BYTES, 600.0), (10, 0.05)], ids=["long", "slow"])
async def test_a_head_without_an_end_is_cut_off(sent: int, head_s: float) -> None:
    """By its length, however long it may take, and by its time, however short it is."""
    async with serving(Forwarder(to(1), head_s=head_s)) as way:
        reader, writer = await asyncio.open_connection("127.0.0.1", way)
        writer.write(b"x" * sent)
        async with asyncio.timeout(20):
            with suppress(ConnectionError):
                assert await reader.read() == b""
        writer.close()


async def test_only_so_many_connections_are_open_at_once_and_their_places_are_given_back() -> None:
    async with far_end() as (port, _), serving(Forwarder(to(port))) as way:
        head = b"CONNECT localhost:%d HTTP/1.1\r\n\r\n" % port
        held = [await asked(way, head) for _ in range(CONNECTIONS_MAX)]
        assert {first.split(b" ")[1] for first, _, _ in held} == {b"200"}
        first, _, beyond = await asked(way, head)
        assert b"503" in first
        for writer in (beyond, *(writer for _, _, writer in held)):
            writer.close()
        async with asyncio.timeout(20):
            while b"200" not in (again := await asked(way, head))[0]:
                again[2].close()
        again[2].close()


async def test_what_a_run_may_carry_is_bounded() -> None:
    async with far_end() as (port, _), serving(Forwarder(to(port), carried_max_bytes=100_000)) as way:
        _, reader, writer = await asked(way, b"CONNECT localhost:%d HTTP/1.1\r\n\r\n" % port)
        writer.write(b"x" * 1_000_000)
        with suppress(ConnectionError):
            assert len(await reader.read()) < 200_000
        writer.close()


async def test_a_silent_tunnel_is_closed() -> None:
    async with far_end() as (port, _), serving(Forwarder(to(port), idle_s=0.05)) as way:
        _, reader, writer = await asked(way, b"CONNECT localhost:%d HTTP/1.1\r\n\r\n" % port)
        with suppress(ConnectionError):
            assert await reader.read() == b"\r\n"
        writer.close()


@pytest.mark.parametrize(
    ("base_url", "upstream", "text"),
    [
        (None, None, "https api.anthropic.com 443 0 "),
        ("http://gateway:8080", None, "http gateway 8080 1 "),
        ("https://gateway", "http://proxy:3128", "https gateway 443 1 http://proxy:3128"),
    ],
)
def test_the_target_is_the_one_of_the_settings(base_url: str | None, upstream: str | None, text: str) -> None:
    target = Target.of(base_url, upstream)
    assert str(target) == text
    assert Target.parse(text) == target
