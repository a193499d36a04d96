"""JSON that nobody's terminal obeys: the same text for a reader of JSON, and nothing that is not seen."""

import json
from typing import Any

import pytest

import harm
from orchestrator.web.escaping import Escaping, escaped

UNSEEN = "\x7f\x80\x9b\x9f\u061c\u200b\u200e\u200f\u2028\u2029\u202a\u202e\u2060\u2066\u2069\ufeff\ufffb"
SEEN = 'Дорога ё 山 é \u00a0\u2026\u2010\u2031 — 🙂 \\u202e "quoted" \t\n'


def test_what_is_not_seen_is_written_as_its_code_and_reads_the_same() -> None:
    told = {"title": f"a{UNSEEN}b", UNSEEN: [SEEN]}
    text = escaped(json.dumps(told, ensure_ascii=False).encode())
    assert json.loads(text) == told
    assert not any(one in text.decode() for one in UNSEEN)
    assert list(harm.of_text(text.decode())) == []


def test_what_is_seen_stays_as_it_is() -> None:
    text = json.dumps(SEEN, ensure_ascii=False).encode()
    assert escaped(text) == text


async def answered(kind: bytes, *parts: bytes) -> tuple[dict[bytes, bytes], bytes]:
    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        size = b"%d" % sum(map(len, parts))
        headers = [(b"content-type", kind), (b"content-length", size), (b"x-other", b"1")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for number, part in enumerate(parts, 1):
            await send({"type": "http.response.body", "body": part, "more_body": number < len(parts)})

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    await Escaping(app)({"type": "http"}, None, send)
    assert [one["type"] for one in sent[:1]] == ["http.response.start"]
    return dict(sent[0]["headers"]), b"".join(one["body"] for one in sent[1:])


@pytest.mark.parametrize("kind", [b"application/json", b"application/problem+json; charset=utf-8"])
async def test_an_answer_has_the_length_that_it_has_then(kind: bytes) -> None:
    whole = '"a\x9bb"'.encode()
    headers, body = await answered(kind, whole[:3], whole[3:])
    assert body == b'"a\\u009bb"'
    assert headers == {b"content-type": kind, b"content-length": b"%d" % len(body), b"x-other": b"1"}


async def test_what_is_no_json_passes_as_it_comes() -> None:
    headers, body = await answered(b"text/plain", "\x9b".encode(), b"x")
    assert (body, headers[b"content-length"]) == (b"\xc2\x9bx", b"3")
