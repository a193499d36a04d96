"""The endpoint called in process: what it stores, what it refuses, and that it never answers 5xx for input."""

import asyncio
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Callable, MutableMapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote_plus, unquote_to_bytes

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from orchestrator.domain.errors import Transient
from orchestrator.domain.events import BranchMoved, Delivery, Ignored, WorkItemDeleted
from orchestrator.domain.model import Source
from orchestrator.store.journal import Recorded
from orchestrator.webhooks.body import LINGER_BYTES, form_payload
from orchestrator.webhooks.receiver import Receiver

SECRET = b"plane_wh_0123456789abcdef0123456789abcdef"
ITEM = "34c40f2e-5963-4499-9e0c-9bcedef103c0"
BODY = b'{"event":"issue","action":"deleted","data":{"id":"%s"}}' % ITEM.encode()
PUSH = json.dumps(
    {
        "ref": "refs/heads/x",
        "before": "1" * 40,
        "after": "2" * 40,
        "repository": {"full_name": "a/b"},
        "n": "<&+=%т",
    },
    ensure_ascii=False,
    indent=2,
).encode()
NOW = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
CAP = 1000

Message = MutableMapping[str, Any]


@dataclass
class FakeClock:
    seconds: float = 0.0

    def now(self) -> datetime:
        return NOW

    def monotonic(self) -> float:
        return self.seconds


@dataclass
class Inbox:
    """Stands for the journal: remembers, and knows what it has seen."""

    stored: list[Delivery] = field(default_factory=list)
    fault: Transient | None = None
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    gate: asyncio.Event | None = None

    async def accept(self, delivery: Delivery) -> Recorded:
        self.asked.set()
        if self.gate is not None:
            await self.gate.wait()
        if self.fault is not None:
            raise self.fault
        is_new = delivery.body_sha256 not in [known.body_sha256 for known in self.stored]
        self.stored.append(delivery)
        return Recorded(is_new, None)


@dataclass
class Answer:
    status: int = 0
    headers: dict[bytes, bytes] = field(default_factory=dict)
    body: bytes = b""
    complete: bool = False
    read: int = 0

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def sign(raw: bytes, secret: bytes = SECRET) -> bytes:
    return hmac.new(secret, raw, hashlib.sha256).hexdigest().encode()


def receiver(inbox: Inbox, **more: Any) -> Receiver:
    given = {
        "source": Source.PLANE,
        "secrets": [SECRET],
        "accept": inbox.accept,
        "clock": FakeClock(),
        "max_body_bytes": CAP,
        "receive_timeout_s": 10.0,
    }
    return Receiver(**{**given, **more})


async def send(
    app: Receiver,
    chunks: Sequence[bytes] | AsyncIterator[bytes],
    headers: dict[str, bytes],
    *,
    method: str = "POST",
    client: tuple[str, int] | None = ("203.0.113.9", 40000),
    hangs_up: bool = False,
) -> Answer:
    """What uvicorn would do, without the network. With `hangs_up` the sender leaves after the chunks."""
    answer = Answer()
    left = list(chunks) if isinstance(chunks, Sequence) else None

    async def receive() -> Message:
        if left is None:
            assert not isinstance(chunks, Sequence)
            chunk = await anext(chunks)
            answer.read += len(chunk)
            return {"type": "http.request", "body": chunk, "more_body": True}
        if not left:
            return {"type": "http.disconnect"}
        answer.read += len(left[0])
        return {"type": "http.request", "body": left.pop(0), "more_body": bool(left) or hangs_up}

    async def respond(message: Message) -> None:
        if message["type"] == "http.response.start":
            answer.status = message["status"]
            answer.headers = dict(message["headers"])
        else:
            answer.body += message["body"]
            answer.complete = not message.get("more_body", False)

    raw = [(name.encode(), value) for name, value in headers.items()]
    scope = {"type": "http", "method": method, "headers": raw, "client": client}
    await asyncio.wait_for(app(scope, receive, respond), 20)
    return answer


async def post(app: Receiver, body: bytes = BODY, **headers: bytes | None) -> Answer:
    given = {"content_type": b"application/json", "x_plane_signature": sign(body), **headers}
    named = {name.replace("_", "-"): value for name, value in given.items() if value is not None}
    return await send(app, [body], named)


async def test_a_signed_delivery_is_stored_byte_for_byte_and_accepted() -> None:
    inbox = Inbox()
    answer = await post(
        receiver(inbox),
        x_plane_event=b"issue",
        x_plane_delivery=b"d-1",
        user_agent=b"Autopilot",
        authorization=b"Bearer secret",
        x_unknown=b"x",
    )
    assert (answer.status, answer.body, answer.complete) == (200, b'{"status":"accepted"}', True)
    assert answer.headers == {b"content-type": b"application/json", b"content-length": b"21"}
    (delivery,) = inbox.stored
    assert delivery.source is Source.PLANE
    assert delivery.received_at == NOW
    assert delivery.delivery_id == "d-1"
    assert delivery.payload == BODY
    assert delivery.body_sha256 == hashlib.sha256(BODY).hexdigest()
    assert delivery.parsed.event == WorkItemDeleted(ITEM)  # type: ignore[arg-type]
    assert dict(delivery.headers) == {
        "x-plane-event": "issue",
        "x-plane-delivery": "d-1",
        "user-agent": "Autopilot",
        "content-type": "application/json",
    }


async def test_a_known_delivery_is_a_duplicate() -> None:
    app = receiver(Inbox())
    assert (await post(app)).json == {"status": "accepted"}
    again = await post(app)
    assert (again.status, again.json) == (200, {"status": "duplicate"})


async def test_a_body_in_pieces_is_put_together() -> None:
    inbox = Inbox()
    headers = {"content-type": b"application/json; charset=utf-8", "x-plane-signature": sign(BODY)}
    answer = await send(receiver(inbox), [BODY[:10], b"", BODY[10:], b""], headers)
    assert answer.status == 200
    assert inbox.stored[0].payload == BODY


async def test_stored_headers_are_bounded() -> None:
    inbox = Inbox()
    await post(receiver(inbox), x_plane_delivery=b"\xff" * 5000)
    assert inbox.stored[0].delivery_id == "\xff" * 200


WRONG = [
    None,
    b"",
    sign(BODY)[:-1],
    sign(BODY).upper(),
    sign(BODY, b""),
    sign(BODY, b"other"),
    "подпись".encode(),
    b"\xff" * 64,
    b"sha256=" + sign(BODY),
]


@pytest.mark.parametrize("signature", WRONG)
async def test_every_wrong_signature_gets_the_same_401_and_stores_nothing(signature: bytes | None) -> None:
    inbox = Inbox()
    answer = await post(receiver(inbox, secrets=[SECRET, b""]), x_plane_signature=signature)
    assert (answer.status, answer.json["code"]) == (401, "bad_signature")
    assert answer.body == (await post(receiver(inbox), x_plane_signature=b"0" * 64)).body
    assert inbox.stored == []


@pytest.mark.parametrize("secrets", [[], [b""]])
async def test_without_a_secret_nothing_is_authentic(secrets: list[bytes]) -> None:
    inbox = Inbox()
    for signature in (None, b"", sign(BODY, b"")):
        assert (await post(receiver(inbox, secrets=secrets), x_plane_signature=signature)).status == 401
    assert inbox.stored == []


@pytest.mark.parametrize("body", [b"", b"[]", b"rubbish", b'{"x":' * 100_000, b'{"x":NaN}', b"\xff"])
async def test_nothing_is_parsed_before_the_signature_was_verified(body: bytes) -> None:
    inbox = Inbox()
    app = receiver(inbox, max_body_bytes=10**6)
    assert (await post(app, body, x_plane_signature=b"0" * 64)).status == 401
    signed = await post(app, body)
    assert (signed.status, signed.json["status"]) == (400, "rejected")
    assert inbox.stored == []


HOSTILE = [
    (b'{"event":"a\x00b","ref":"a\x00b"}', 400),
    (b'{"x":"a\x00b"}', 400),
    (b'{"event":"\\ud800","ref":"\\ud800"}', 400),
    (b'{"event":"a\\u0000b","ref":"a\\u0000b"}', 200),
    (b'{"event":%b,"ref":%b}' % (b"9" * 5000, b"9" * 5000), 200),
    (b'{"event":"issue","event":"\xd1\x82","ref":"x","ref":[]}', 200),
    (b'{"event":NaN,"ref":NaN}', 400),
    (b'{"data":{"id":' + b"[" * 100_000, 400),
]


@pytest.mark.parametrize("source", [Source.PLANE, Source.GITEA])
@pytest.mark.parametrize(("body", "status"), HOSTILE, ids=range(len(HOSTILE)))
async def test_hostile_json_is_refused_or_stored_as_ignored_whoever_signed_it(
    source: Source, body: bytes, status: int
) -> None:
    inbox = Inbox()
    app = receiver(inbox, source=source, max_body_bytes=10**6)
    headers = {
        "content-type": b"application/json",
        f"x-{source}-signature": sign(body),
        "x-gitea-event-type": b"push",
    }
    assert (await send(app, [body], headers)).status == status
    assert [delivery.payload for delivery in inbox.stored] == ([body] if status == 200 else [])
    for delivery in inbox.stored:
        assert isinstance(delivery.parsed.event, Ignored)
        texts = (delivery.parsed.event.reason, delivery.parsed.event_type, delivery.parsed.action)
        assert all(text.isprintable() for text in texts)


async def test_a_signed_body_of_unknown_kind_is_stored_as_ignored() -> None:
    inbox = Inbox()
    assert (await post(receiver(inbox), b'{"event":1}')).json == {"status": "accepted"}
    assert isinstance(inbox.stored[0].parsed.event, Ignored)


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
async def test_only_post_is_allowed(method: str) -> None:
    answer = await send(receiver(Inbox()), [b""], {}, method=method)
    assert (answer.status, answer.headers[b"allow"]) == (405, b"POST")
    assert answer.headers[b"connection"] == b"close"


@pytest.mark.parametrize("content_type", [None, b"", b"text/plain", b"application/x-www-form-urlencoded", b"\xff"])
async def test_plane_speaks_json_only(content_type: bytes | None) -> None:
    answer = await post(receiver(Inbox()), content_type=content_type)
    assert (answer.status, answer.json["code"]) == (415, "unsupported_type")


async def test_a_compressed_body_is_not_unpacked() -> None:
    answer = await post(receiver(Inbox()), content_encoding=b"gzip")
    assert (answer.status, answer.json["code"]) == (415, "unsupported_encoding")
    assert (await post(receiver(Inbox()), content_encoding=b"Identity")).status == 200


async def test_a_body_at_the_limit_is_taken_and_one_byte_more_is_not() -> None:
    inbox = Inbox()
    body = BODY + b" " * (CAP - len(BODY))
    assert (await post(receiver(inbox), body)).status == 200
    more = await post(receiver(inbox), body + b" ")
    assert (more.status, more.json["code"]) == (413, "body_too_large")
    assert more.headers[b"connection"] == b"close"
    assert len(inbox.stored) == 1


@pytest.mark.parametrize("pieces", [[b"x" * CAP, b"x"], [b"x"] * (CAP + 1), [b"", b"x" * (CAP + 1), b"x"]])
async def test_the_limit_counts_all_pieces(pieces: list[bytes]) -> None:
    assert (await send(receiver(Inbox()), pieces, {})).status == 413


@pytest.mark.parametrize("length", [b"1001", b"9" * 18])
async def test_a_declared_length_over_the_limit_is_refused_at_once(length: bytes) -> None:
    answer = await send(receiver(Inbox()), [], {"content-length": length})
    assert answer.status == 413
    assert answer.complete


@pytest.mark.parametrize("length", [b"x", b"-1", b"9" * 5000, b"1e3", b"\xb2"])
async def test_a_length_that_is_no_number_is_refused(length: bytes) -> None:
    assert (await send(receiver(Inbox()), [b""], {"content-length": length})).status == 400


async def endless(chunk: bytes) -> AsyncIterator[bytes]:
    while True:
        yield chunk


async def test_endless_chunks_end() -> None:
    answer = await send(receiver(Inbox()), endless(b"x" * 65536), {})
    assert answer.status == 413
    assert answer.complete
    assert answer.read <= LINGER_BYTES + 2 * 65536


async def silent(first: bytes) -> AsyncIterator[bytes]:
    yield first
    await asyncio.Event().wait()


@pytest.mark.parametrize("first", [b"{", b"x" * (CAP + 1)])
async def test_a_body_that_stops_coming_is_answered_and_ended(first: bytes) -> None:
    answer = await send(receiver(Inbox(), receive_timeout_s=0.05), silent(first), {})
    assert answer.status == (400 if len(first) == 1 else 413)
    assert answer.json["code"] == ("body_timeout" if len(first) == 1 else "body_too_large")
    assert answer.headers[b"connection"] == b"close"
    assert answer.complete


async def never() -> AsyncIterator[bytes]:
    await asyncio.Event().wait()
    yield b""


async def test_a_body_that_never_comes_is_ended() -> None:
    answer = await send(receiver(Inbox(), receive_timeout_s=0.05), never(), {})
    assert answer.json["code"] == "body_timeout"


@pytest.mark.parametrize("chunks", [[], [b"{"], [b"{", b"}"]])
async def test_a_sender_that_hangs_up_gets_no_answer(chunks: list[bytes]) -> None:
    inbox = Inbox()
    answer = await send(receiver(inbox), chunks, {}, hangs_up=True)
    assert answer.status == 0
    assert inbox.stored == []


async def test_a_sender_that_hangs_up_after_a_refusal_is_let_go() -> None:
    answer = await send(receiver(Inbox()), [b"x" * (CAP + 1)], {}, hangs_up=True)
    assert answer.status == 413


async def test_large_bodies_in_flight_are_bounded_and_their_room_is_given_back() -> None:
    inbox = Inbox()
    app = receiver(inbox)
    waiting = [asyncio.create_task(send(app, silent(b"x" * CAP), {})) for _ in range(32)]
    await asyncio.sleep(0)
    headers = {"content-type": b"application/json", "x-plane-signature": sign(BODY)}
    late = await send(app, [BODY[:5], BODY[5:]], headers)
    assert (late.status, late.json["code"]) == (503, "busy")
    assert (await post(app)).status == 200  # one that arrives in one piece needs no room
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert (await send(app, [BODY[:5], BODY[5:]], headers)).status == 200


@pytest.mark.parametrize(("pause", "told"), [(None, b"5"), (0.2, b"1"), (7.1, b"8")])
async def test_a_store_in_trouble_is_503_with_retry_after(pause: float | None, told: bytes) -> None:
    inbox = Inbox(fault=Transient("database_locked", "Another process writes.", retry_after_s=pause))
    answer = await post(receiver(inbox))
    assert (answer.status, answer.headers[b"retry-after"]) == (503, told)
    assert answer.json == {"status": "rejected", "code": "database_locked", "message": "Another process writes."}


async def test_only_so_many_deliveries_wait_to_be_stored() -> None:
    inbox = Inbox(gate=asyncio.Event())
    app = receiver(inbox, max_waiting=1)
    first = asyncio.create_task(post(app))
    await inbox.asked.wait()
    second = await post(app)
    assert (second.status, second.json["code"]) == (503, "busy")
    assert inbox.gate is not None
    inbox.gate.set()
    assert (await first).status == 200
    assert (await post(app)).status == 200


async def gitea_post(app: Receiver, body: bytes, **headers: bytes) -> Answer:
    given = {"content_type": b"application/json", "x_gitea_event_type": b"push", **headers}
    return await send(app, [body], {name.replace("_", "-"): value for name, value in given.items()})


async def test_a_form_is_verified_and_stored_by_its_decoded_field() -> None:
    inbox = Inbox()
    app = receiver(inbox, source=Source.GITEA)
    form = b"a=1&payload=" + quote_plus(PUSH).encode() + b"&z=2"
    answer = await gitea_post(
        app, form, content_type=b"application/x-www-form-urlencoded", x_gitea_signature=sign(PUSH)
    )
    assert answer.json == {"status": "accepted"}
    assert inbox.stored[0].payload == PUSH
    assert inbox.stored[0].parsed.event == BranchMoved("a/b", "x", "2" * 40, "")  # type: ignore[arg-type]
    again = await gitea_post(app, PUSH, x_gitea_signature=sign(PUSH))
    assert again.json == {"status": "duplicate"}


async def test_the_contracts_form_verifies_and_its_raw_text_does_not() -> None:
    form = (
        b"payload=%7B%0A++%22ref%22%3A+%22refs%2Fheads%2Fmain%22%2C%0A++"
        b"%22note%22%3A+%22a%3Cb+%26+c%D1%82%22%0A%7D"
    )
    signature = b"dbfa5b22aa3365613ea97e080e1b5ab64cda7bf7783c24a417e6fa6682af6303"
    app = receiver(Inbox(), source=Source.GITEA, secrets=[b"s3cret"])
    kind = b"application/x-www-form-urlencoded"
    assert (await gitea_post(app, form, content_type=kind, x_gitea_signature=signature)).status == 200
    over_the_form = sign(form, b"s3cret")
    assert (await gitea_post(app, form, content_type=kind, x_gitea_signature=over_the_form)).status == 401


@pytest.mark.parametrize("form", [b"", b"payload", b"x=1", b"payload=", b"&" * 100 + b"payload=%7B%7D"])
async def test_a_form_without_its_field_is_not_authentic(form: bytes) -> None:
    kind = b"application/x-www-form-urlencoded"
    app = receiver(Inbox(), source=Source.GITEA)
    assert (await gitea_post(app, form, content_type=kind, x_gitea_signature=sign(b"{}"))).status == 401


@settings(deadline=None)
@given(st.binary())
def test_a_form_field_is_decoded_as_it_was_encoded(payload: bytes) -> None:
    quoted = quote_plus(payload).encode()
    assert form_payload(b"payload=" + quoted) == payload == unquote_to_bytes(quoted.replace(b"+", b" "))


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"x_gitea_signature": sign(PUSH)}, 200),
        ({"x_forgejo_signature": sign(PUSH)}, 200),
        ({"x_hub_signature_256": b"sha256=" + sign(PUSH)}, 200),
        ({"x_gogs_signature": sign(PUSH)}, 401),
        ({"x_hub_signature_256": b"sha256="}, 401),
        ({"x_gitea_signature": b""}, 401),
        ({"x_gitea_signature": b"", "x_hub_signature_256": b"sha256=" + sign(PUSH)}, 401),
        ({"x_gitea_signature": b"0" * 64, "x_forgejo_signature": sign(PUSH)}, 401),
    ],
)
async def test_the_first_signature_header_decides(headers: dict[str, bytes], status: int) -> None:
    app = receiver(Inbox(), source=Source.GITEA)
    assert (await gitea_post(app, PUSH, **headers)).status == status


async def test_forgejo_only_headers_are_kept_and_name_the_delivery() -> None:
    inbox = Inbox()
    await gitea_post(
        receiver(inbox, source=Source.GITEA),
        PUSH,
        x_forgejo_delivery=b"f-1",
        x_gitea_delivery=b"",
        x_forgejo_signature=sign(PUSH),
    )
    assert inbox.stored[0].delivery_id == "f-1"
    assert not [name for name, _ in inbox.stored[0].headers if "signature" in name]


LOCAL = {"content-type": b"application/json", "host": b"localhost:8500"}


async def local(headers: dict[str, bytes], client: tuple[str, int] | None = ("127.0.0.1", 5)) -> int:
    app = receiver(Inbox(), allow_unsigned_loopback=True, secrets=[SECRET])
    return (await send(app, [BODY], headers, client=client)).status


@pytest.mark.parametrize("host", [b"localhost", b"127.0.0.1:8500", b"LOCALHOST:1", b"[::1]:8500", b"[::1]"])
@pytest.mark.parametrize("peer", ["127.0.0.1", "127.8.9.1", "::1"])
async def test_an_unsigned_local_request_is_taken_when_that_was_allowed(host: bytes, peer: str) -> None:
    assert await local({**LOCAL, "host": host}, (peer, 5)) == 200


@pytest.mark.parametrize(
    "more",
    [
        {"x-forwarded-for": b"127.0.0.1"},
        {"x-forwarded-proto": b"https"},
        {"forwarded": b"for=127.0.0.1"},
        {"x-real-ip": b"127.0.0.1"},
        {"origin": b"https://example.test"},
        {"sec-fetch-site": b"cross-site"},
        {"host": b"example.test"},
        {"host": b"localhost.example.test:8500"},
        {"host": b"localhost:x"},
        {"host": b""},
        {"host": b"\xff"},
        {"x-plane-signature": b""},
        {"x-plane-signature": b"0" * 64},
    ],
)
async def test_an_unsigned_request_that_could_come_from_elsewhere_is_refused(more: dict[str, bytes]) -> None:
    assert await local({**LOCAL, **more}) == 401


@pytest.mark.parametrize("client", [None, ("203.0.113.9", 5), ("testclient", 5), ("", 0)])
async def test_an_unsigned_request_from_another_machine_is_refused(client: tuple[str, int] | None) -> None:
    assert await local(LOCAL, client) == 401


async def test_an_unsigned_local_request_without_a_host_is_refused() -> None:
    assert await local({"content-type": b"application/json"}) == 401


async def test_unsigned_requests_need_the_permission() -> None:
    assert (await send(receiver(Inbox()), [BODY], LOCAL, client=("127.0.0.1", 5))).status == 401


async def test_refusals_are_logged_once_per_pause_and_counted() -> None:
    clock = FakeClock()
    app = receiver(Inbox(), clock=clock)
    with capture_logs() as lines:
        for _ in range(5):
            await post(app, x_plane_signature=b"0" * 64)
        clock.seconds = 10.0
        await post(app, x_plane_signature=b"0" * 64)
    assert [(line["event"], line["code"], line["more_since_last"]) for line in lines] == [
        ("delivery_refused", "bad_signature", 0),
        ("delivery_refused", "bad_signature", 4),
    ]


def forged(body: bytes) -> bytes:
    return hmac.new(b"guess", body, hashlib.sha256).hexdigest().encode()


@settings(deadline=None)
@given(
    body=st.binary() | st.binary().map(lambda raw: b'{"event":"issue","x":"' + raw + b'"}'),
    source=st.sampled_from([Source.PLANE, Source.GITEA]),
    signer=st.sampled_from([sign, forged]),
    headers=st.dictionaries(
        st.sampled_from(["content-length", "host", "x-gitea-event", "x-plane-event", "content-encoding"]),
        st.binary(),
    ),
    kind=st.sampled_from([b"application/json", b"application/x-www-form-urlencoded"]) | st.binary(),
)
def test_input_never_makes_a_5xx_and_forgeries_never_a_row(
    body: bytes, source: Source, signer: Callable[[bytes], bytes], headers: dict[str, bytes], kind: bytes
) -> None:
    inbox = Inbox()
    given = {**headers, "content-type": kind, f"x-{source}-signature": signer(body)}
    answer = asyncio.run(send(receiver(inbox, source=source), [body], given))
    assert answer.status in {200, 400, 401, 413, 415}
    assert (answer.status == 200) == bool(inbox.stored)
    if signer is forged:
        assert inbox.stored == []
