"""Everything but /health and the webhooks needs the token, or direct loopback."""

from typing import Any

import pytest

from orchestrator.web.access import Access

TOKENS = ["first-token", "second-token"]


def scope(peer: str = "127.0.0.1", host: str = "127.0.0.1:8500", **headers: str) -> dict[str, Any]:
    raw = [(b"host", host.encode())] + [(k.replace("_", "-").encode(), v.encode()) for k, v in headers.items()]
    return {"type": "http", "method": "GET", "client": (peer, 1234), "headers": raw}


@pytest.mark.parametrize("token", TOKENS)
def test_any_of_the_tokens_opens_from_anywhere(token: str) -> None:
    assert Access(TOKENS).refusal(scope("10.0.0.9", "x", authorization=f"Bearer {token}")) is None
    assert Access(TOKENS).refusal(scope("10.0.0.9", "x", authorization=f"bearer  {token} ")) is None


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
        "Bearer ключ",
    ],
)
def test_anything_else_is_401_even_from_loopback(sent: str) -> None:
    refusal = Access(TOKENS).refusal(scope(authorization=sent))
    assert refusal is not None
    assert refusal[0] == 401


@pytest.mark.parametrize("host", ["127.0.0.1:8500", "localhost", "LOCALHOST:1", "[::1]:8500", "[::1]"])
@pytest.mark.parametrize("peer", ["127.0.0.1", "::1"])
def test_without_a_token_direct_loopback_is_answered(peer: str, host: str) -> None:
    assert Access([]).refusal(scope(peer, host)) is None
    assert Access([""]).refusal(scope(peer, host)) is None


def test_without_a_token_a_page_on_this_machine_may_read_but_not_change() -> None:
    assert Access([]).refusal(scope(sec_fetch_site="none")) is None
    assert Access([]).refusal(scope() | {"method": "POST"}) is None


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
        {"type": "http", "method": "GET", "client": None, "headers": [(b"host", b"localhost")]},
        {"type": "http", "method": "GET", "client": ("nobody", 1), "headers": [(b"host", b"localhost")]},
        {"type": "http", "method": "GET", "client": ("127.0.0.1", 1), "headers": [(b"host", b"localhost")] * 2},
        scope(origin="http://evil.example") | {"method": "POST"},
        scope(referer="http://localhost/") | {"method": "POST"},
        scope(sec_fetch_site="cross-site") | {"method": "POST"},
    ],
)
def test_without_a_token_everything_else_is_refused_and_told_why(request_scope: dict[str, Any]) -> None:
    refusal = Access([]).refusal(request_scope)
    assert refusal is not None
    assert refusal[0] == 403
    assert "ORCH_API_TOKEN" in refusal[1]
