"""Everything but /health and the webhooks needs a token, a session, or direct loopback."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from conftest import FakeClock
from doors import identity
from orchestrator.db import Database
from orchestrator.web.access import Access, Refusal
from orchestrator.web.caller import THIS_MACHINE, Caller, Scope

TOKENS = ["first-token", "second-token"]
Judge = Callable[..., Awaitable[Caller | Refusal]]


def scope(peer: str = "127.0.0.1", host: str = "127.0.0.1:8500", **headers: str) -> dict[str, Any]:
    raw = [(b"host", host.encode())] + [(k.replace("_", "-").encode(), v.encode()) for k, v in headers.items()]
    return {
        "type": "http",
        "method": "GET",
        "path": "/status",
        "query_string": b"",
        "client": (peer, 1234),
        "headers": raw,
    }


async def nothing() -> dict[str, Any]:
    return {"type": "http.disconnect"}


@pytest.fixture
def judge(database: Database, clock: FakeClock) -> Judge:
    async def judged(request: dict[str, Any], tokens: list[str]) -> Caller | Refusal:
        found = await Access(identity(database, clock, tokens)).judge(request, nothing)
        return found if isinstance(found, Refusal) else found[0]

    return judged


@pytest.mark.parametrize("token", TOKENS)
async def test_any_of_the_tokens_opens_from_anywhere(judge: Judge, token: str) -> None:
    for sent in (f"Bearer {token}", f"bearer  {token} "):
        found = await judge(scope("10.0.0.9", "localhost", authorization=sent), TOKENS)
        assert isinstance(found, Caller)
        assert found.scope is Scope.ADMIN


@pytest.mark.parametrize(
    "sent",
    [
        "",
        "Bearer",
        "Bearer ",
        "Bearer wrong",
        "Basic first-token",
        "first-token",
        "Bearer first-toke",
        "Bearer first-token first-token",
        "Bearer ключ",
        "Bearer orch_ключ",
        "Bearer orch_unknown",
    ],
)
async def test_anything_else_is_401_even_from_loopback(judge: Judge, sent: str) -> None:
    refusal = await judge(scope(authorization=sent), TOKENS)
    assert isinstance(refusal, Refusal)
    assert refusal.status == 401


@pytest.mark.parametrize("host", ["127.0.0.1:8500", "localhost", "LOCALHOST:1", "[::1]:8500", "[::1]"])
@pytest.mark.parametrize("peer", ["127.0.0.1", "::1"])
async def test_without_a_token_direct_loopback_is_answered(judge: Judge, peer: str, host: str) -> None:
    for tokens in ([], [""]):
        found = await judge(scope(peer, host), tokens)
        assert isinstance(found, Caller)
        assert found.name == THIS_MACHINE.name


async def test_without_a_token_a_page_on_this_machine_may_read_but_not_change(judge: Judge) -> None:
    assert isinstance(await judge(scope(sec_fetch_site="none"), []), Caller)
    assert isinstance(await judge(scope() | {"method": "POST"}, []), Caller)
    asked = scope(origin="http://127.0.0.1:8500", sec_fetch_site="same-origin") | {"method": "POST"}
    assert isinstance(await judge(asked, []), Refusal)


@pytest.mark.parametrize(
    "request_scope",
    [
        scope("10.0.0.9"),
        scope(host="evil.example"),
        scope(host="localhost.evil.example"),
        scope(host="127.0.0.1.evil.example:8500"),
        scope(host=""),
        scope(x_forwarded_for="1.2.3.4"),
        scope(x_forwarded_host="localhost"),
        scope(x_real_ip="127.0.0.1"),
        scope(forwarded="for=127.0.0.1"),
        scope() | {"client": None},
        scope() | {"client": ("nobody", 1)},
        scope() | {"headers": [(b"host", b"localhost")] * 2},
        scope(origin="http://evil.example") | {"method": "POST"},
        scope(referer="http://localhost/") | {"method": "POST"},
        scope(sec_fetch_site="cross-site") | {"method": "POST"},
    ],
)
async def test_without_a_token_everything_else_is_refused(judge: Judge, request_scope: dict[str, Any]) -> None:
    refusal = await judge(request_scope, [])
    assert isinstance(refusal, Refusal)
    assert refusal.status == 403


async def test_a_stranger_is_told_what_to_set(judge: Judge) -> None:
    refusal = await judge(scope("10.0.0.9"), [])
    assert isinstance(refusal, Refusal)
    assert "ORCH_API_TOKEN" in refusal.detail
