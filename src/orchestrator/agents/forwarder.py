"""The one way out of a confined run: an HTTP proxy on a port of loopback that leads to the model's API only.

Each shim forks one for its run, so it lives exactly as long as the run and needs no restart of its own
(docs/adr/0015). It resolves the name itself: the agent has no DNS. Runs in the shim's interpreter: standard
library only.
"""

import asyncio
import concurrent.futures.thread  # noqa: F401  # asyncio loads it when it first resolves; by then we are nobody
import encodings.idna  # noqa: F401  # as above
import ipaddress
import socket
import ssl
from contextlib import suppress
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

CONNECTIONS_MAX: Final = 64
"""At once. The CLI holds one or two."""
HEAD_MAX_BYTES: Final = 16 * 1024
CARRIED_MAX_BYTES: Final = 4 * 1024 * 1024 * 1024
"""In both directions, over a run's life."""
IDLE_S: Final = 900.0
"""The CLI waits 600 s for an answer that does not come."""
HEAD_S: Final = 15.0
CONNECT_S: Final = 20.0
_PIECE_BYTES: Final = 64 * 1024
_DEFAULT_PORTS: Final = {"https": 443, "http": 80}


@dataclass(frozen=True, slots=True)
class Target:
    """The address that is let through. `is_named`: an operator named it, so it may lie in a private network."""

    scheme: str
    host: str
    port: int
    is_named: bool
    upstream: str = ""
    """Another proxy to go through, as http(s)://host:port."""

    @classmethod
    def of(cls, base_url: str | None, upstream: str | None) -> "Target":
        parts = urlsplit(base_url or "https://api.anthropic.com")
        port = parts.port or _DEFAULT_PORTS[parts.scheme]
        return cls(parts.scheme, parts.hostname or "", port, base_url is not None, upstream or "")

    @classmethod
    def parse(cls, text: str) -> "Target":
        scheme, host, port, named, upstream = text.split(" ")
        return cls(scheme, host, int(port), named == "1", upstream)

    def __str__(self) -> str:
        return f"{self.scheme} {self.host} {self.port} {int(self.is_named)} {self.upstream}"

    def admits(self, host: str, port: int) -> bool:
        return host.rstrip(".").casefold() == self.host.casefold() and port == self.port


class Refused(Exception):
    """What is answered to the agent, with the status."""

    def __init__(self, status: str, why: str) -> None:
        super().__init__(why)
        self.status = status


@dataclass(slots=True)
class Forwarder:
    """Carries bytes between the agent and the target, and counts them."""

    target: Target
    idle_s: float = IDLE_S
    head_s: float = HEAD_S
    carried_max_bytes: int = CARRIED_MAX_BYTES
    _open: int = 0
    _carried: int = 0

    async def serve(self, listener: socket.socket) -> None:
        server = await asyncio.start_server(self._meet, sock=listener, limit=HEAD_MAX_BYTES)
        async with server:
            await server.serve_forever()

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            with suppress(OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                await self._carry(reader, writer)
        finally:
            self._open -= 1
            writer.close()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(self.head_s):
                head = await reader.readuntil(b"\r\n\r\n")
            far_reader, far_writer = await self._opened(head, writer)
        except Refused as refused:
            writer.write(f"HTTP/1.1 {refused.status}\r\nContent-Length: {len(str(refused)) + 1}\r\n".encode())
            writer.write(f"Connection: close\r\n\r\n{refused}\n".encode())
            await writer.drain()
            return
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pump(reader, far_writer))
                both.create_task(self._pump(far_reader, writer))
        except* (OSError, TimeoutError):
            # One side went away or went too far: nothing that still waits to be sent is of use.
            for one in (writer, far_writer):
                one.transport.abort()
        finally:
            far_writer.close()

    async def _opened(
        self, head: bytes, writer: asyncio.StreamWriter
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._open > CONNECTIONS_MAX:
            raise Refused("503 Service Unavailable", "too many connections of this run")
        method, address = _request(head)
        is_tunnel = method == "CONNECT"
        parts = urlsplit(f"//{address}" if is_tunnel else address)
        if not is_tunnel and (parts.scheme != "http" or self.target.scheme != "http"):
            raise Refused("403 Forbidden", "only the model's API is reached from here, through CONNECT")
        try:
            host, port = parts.hostname or "", parts.port or (443 if is_tunnel else 80)
        except ValueError:
            raise Refused("400 Bad Request", "no such port") from None
        if not self.target.admits(host, port):
            raise Refused("403 Forbidden", "only the model's API is reached from here")
        try:
            async with asyncio.timeout(CONNECT_S):
                far = await self._connected(is_tunnel=is_tunnel)
        except (OSError, TimeoutError) as error:
            raise Refused(
                "502 Bad Gateway", f"the model's API is not reached: {str(error) or 'no answer'}"
            ) from error
        if is_tunnel:
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            far[1].write(_rewritten(head, absolute=bool(self.target.upstream)))
        return far

    async def _connected(self, *, is_tunnel: bool) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if not self.target.upstream:
            address = await self._resolved()
            return await asyncio.open_connection(address, self.target.port)
        proxy = urlsplit(self.target.upstream)
        context = ssl.create_default_context() if proxy.scheme == "https" else None
        port = proxy.port or _DEFAULT_PORTS[proxy.scheme]
        far = await asyncio.open_connection(proxy.hostname, port, ssl=context)
        if is_tunnel:
            try:
                await _ask_for_tunnel(*far, f"{self.target.host}:{self.target.port}")
            except BaseException:
                far[1].close()
                raise
        return far

    async def _resolved(self) -> str:
        """The very address that was judged is connected to, so that no second answer can differ."""
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(self.target.host, self.target.port, type=socket.SOCK_STREAM)
        addresses = [str(entry[4][0]) for entry in found]
        fit = [one for one in addresses if self.target.is_named or ipaddress.ip_address(one).is_global]
        if not fit:
            raise Refused("403 Forbidden", "the API's name leads to a private address")
        return fit[0]

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            async with asyncio.timeout(self.idle_s):
                piece = await reader.read(_PIECE_BYTES)
            if not piece:
                break
            self._carried += len(piece)
            if self._carried > self.carried_max_bytes:
                raise TimeoutError("this run has carried as much as it may")
            writer.write(piece)
            async with asyncio.timeout(self.idle_s):
                await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()


async def _ask_for_tunnel(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, address: str) -> None:
    writer.write(f"CONNECT {address} HTTP/1.1\r\nHost: {address}\r\n\r\n".encode())
    answer = await reader.readuntil(b"\r\n\r\n")
    if answer.split(b" ", 2)[1:2] != [b"200"]:
        raise Refused("502 Bad Gateway", "the configured proxy refused the tunnel")


def _request(head: bytes) -> tuple[str, str]:
    words = head.partition(b"\r\n")[0].decode("latin-1").split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        raise Refused("400 Bad Request", "this is no HTTP request")
    return words[0], words[1]


def _rewritten(head: bytes, *, absolute: bool) -> bytes:
    """As the target itself wants it. One request a connection, so that none goes by unread."""
    first, *lines = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    method, address, version = first.split(b" ")
    if not absolute:
        parts = urlsplit(address.decode("latin-1"))
        address = ((parts.path or "/") + (f"?{parts.query}" if parts.query else "")).encode("latin-1")
    dropped = (b"connection:", b"proxy-connection:", b"proxy-authorization:", b"keep-alive:")
    kept = [line for line in lines if not line.lower().startswith(dropped)]
    return b"\r\n".join([b" ".join((method, address, version)), *kept, b"Connection: close", b"", b""])


def run(listener: socket.socket, target: str) -> None:
    """Until it is killed."""
    asyncio.run(Forwarder(Target.parse(target)).serve(listener))
