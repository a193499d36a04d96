"""Slow, large and endless senders against a real `orch serve`: the settings bound them, /health is answered."""

import hashlib
import hmac
import itertools
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress

import httpx
import pytest

import warm
from orchestrator.sim.webhook import TRUSTS_NOBODY, plane_headers
from orchestrator.sim.world import Service
from support import Pulse, query

SECRET = "plane_wh_of_this_test"
CAP = 2000
PATIENCE_S = 30.0
HALF_OPEN = 200
HEALTH_S = 2.0
"""Of the nightly suite, for the slowest answer: far above what it takes on two busy cores."""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One for all: whoever spoils it for the next has found a fault."""
    environ = {
        "ORCH_PORT": "0",
        "ORCH_PLANE_WEBHOOK_SECRET": SECRET,
        "ORCH_GITEA_WEBHOOK_SECRET": SECRET,
        "ORCH_RECEIVE_TIMEOUT_S": "1",
        "ORCH_MAX_BODY_BYTES": str(CAP),
    }
    with Service(tmp_path_factory.mktemp("service"), environ, starter=warm.started) as one:
        yield one


def body_of(size: int) -> bytes:
    body = b'{"event": "cycle", "action": "created", "data": {"x": "%s"}}'
    return body % (b"x" * (size - len(body) + 2))


def post(service: Service, body: bytes) -> httpx.Response:
    headers = plane_headers("cycle", "00000000-0000-4000-8000-000000000001", SECRET, body)
    return httpx.post(
        f"{service.url}/webhook/plane", verify=TRUSTS_NOBODY, content=body, headers=headers, timeout=PATIENCE_S
    )


def rows(service: Service) -> int:
    return int(query(service, "SELECT count(*) FROM events")[0][0])


def connected(service: Service, said: bytes) -> socket.socket:
    host, _, port = service.url.removeprefix("http://").partition(":")
    one = socket.create_connection((host, int(port)), timeout=PATIENCE_S)
    one.sendall(said)
    return one


def answered(one: socket.socket) -> bytes:
    """All that comes until the service closes. TimeoutError when it does not."""
    said = b""
    with one, suppress(ConnectionError):
        while piece := one.recv(65536):
            said += piece
    return said


def head(*lines: bytes) -> bytes:
    first = b"POST /webhook/plane HTTP/1.1\r\nHost: x\r\nContent-Type: application/json"
    return b"\r\n".join([first, *lines]) + b"\r\n\r\n"


def test_the_body_limit_of_the_settings_holds_to_the_byte(service: Service) -> None:
    before = rows(service)
    more = body_of(CAP + 1)
    assert (len(more), post(service, more).status_code, rows(service)) == (CAP + 1, 413, before)
    assert post(service, body_of(CAP)).json() == {"status": "accepted"}
    assert rows(service) == before + 1


def test_the_deadline_of_the_settings_ends_half_a_request(service: Service) -> None:
    assert answered(connected(service, b"POST /webhook/plane HT")) == b""
    assert b"body_timeout" in answered(connected(service, head(b"Content-Length: 100") + b"{"))


# -- /health all the while


def half_open(service: Service, during: Callable[[], None]) -> None:
    """Each in another place of a request; opened anew as fast as the service ends them."""
    whole = head(b"Content-Length: 100") + b"{"
    with ExitStack() as stack:
        for number in range(HALF_OPEN):
            stack.enter_context(connected(service, whole[: number % len(whole)]))
        during()
        for number in range(HALF_OPEN):
            stack.enter_context(connected(service, whole[: number % len(whole)]))
        during()


def drown(service: Service, begin: bytes, pieces: Iterator[bytes], during: Callable[[], None]) -> bytes:
    """Sends as long as the service takes it, and asks `during` in the midst."""
    one = connected(service, begin)
    with suppress(ConnectionError):
        for number, piece in enumerate(pieces):
            one.sendall(piece)
            if number == 10:
                during()
    return answered(one)


def large(service: Service, during: Callable[[], None]) -> None:
    body = os.urandom(25 * 1024 * 1024)
    signature = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest().encode()
    pieces = (body[at : at + 65536] for at in range(0, len(body), 65536))
    begin = head(b"X-Plane-Signature: " + signature, b"Content-Length: %d" % len(body))
    said = drown(service, begin, pieces, during)
    assert not said or b" 413 " in said  # nothing when the connection was reset under what was still being sent


def endless(service: Service, during: Callable[[], None]) -> None:
    chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    said = drown(service, head(b"Transfer-Encoding: chunked"), itertools.repeat(chunk), during)
    assert not said or b" 413 " in said


SENDERS = [half_open, large, endless]


@pytest.mark.parametrize("sender", SENDERS)
def test_health_is_answered_while_a_bad_sender_is_at_work(
    service: Service, sender: Callable[[Service, Callable[[], None]], None]
) -> None:
    before = rows(service)
    with Pulse(service) as pulse:
        sender(service, pulse.beats)
    assert rows(service) == before


@pytest.mark.nightly
def test_health_is_fast_for_as_long_as_bad_senders_are_at_work(service: Service) -> None:
    end = time.monotonic() + 30
    with Pulse(service) as pulse:
        while time.monotonic() < end:
            for sender in SENDERS:
                sender(service, pulse.beats)
    assert pulse.slowest_s < HEALTH_S
