"""The webhook endpoint: plain ASGI, since this is the one route that has to be fast. It has no other effect
than the call of `accept`, and answers 2xx only after that call came back.
"""

import asyncio
import hashlib
import math
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec
import structlog

from orchestrator.counters import Counters
from orchestrator.domain.errors import OrchestratorError, Rejected, Transient
from orchestrator.domain.events import Delivery, Parsed
from orchestrator.domain.model import Source
from orchestrator.loopback import is_direct, is_from_page
from orchestrator.webhooks import gitea, plane
from orchestrator.webhooks.body import BodyReader, ClientGoneError, Message, Receive, discard, form_payload
from orchestrator.webhooks.headers import first_of
from orchestrator.webhooks.signatures import gitea_signature_ok, plane_signature_ok

if TYPE_CHECKING:
    from orchestrator.ports import Clock  # a server listens before it loads what only works behind

Scope = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
Headers = Mapping[bytes, bytes]

_JSON: Final = b"application/json"
_FORM: Final = b"application/x-www-form-urlencoded"
_HEADER_LENGTH: Final = 200
_RETRY_AFTER_S: Final = 5.0
_LOG_EVERY_S: Final = 10.0
_ACCEPTED: Final = b'{"status":"accepted"}'
_DUPLICATE: Final = b'{"status":"duplicate"}'

_log: Final = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Sender:
    """How one of the two systems speaks."""

    signature_ok: Callable[[bytes, bytes | None, Sequence[bytes]], bool]
    parse: Callable[[Mapping[str, str], bytes], Parsed]
    content_types: frozenset[bytes]
    signatures: tuple[bytes, ...]
    """The first of these that is there is the one that counts."""
    ids: tuple[str, ...]
    kept: tuple[tuple[bytes, str], ...]
    """What is stored: names that help, and never a signature or Authorization."""


def _names(*names: str) -> tuple[tuple[bytes, str], ...]:
    return tuple((name.encode(), name) for name in (*names, "user-agent", "content-type"))


_SENDERS: Final = {
    Source.PLANE: _Sender(
        signature_ok=plane_signature_ok,
        parse=plane.parse,
        content_types=frozenset({_JSON}),
        signatures=(b"x-plane-signature",),
        ids=("x-plane-delivery",),
        kept=_names("x-plane-event", "x-plane-delivery"),
    ),
    Source.GITEA: _Sender(
        signature_ok=gitea_signature_ok,
        parse=gitea.parse,
        content_types=frozenset({_JSON, _FORM}),
        signatures=(b"x-gitea-signature", b"x-forgejo-signature", b"x-hub-signature-256"),
        ids=("x-gitea-delivery", "x-forgejo-delivery"),
        kept=_names(
            "x-gitea-event",
            "x-gitea-event-type",
            "x-gitea-delivery",
            "x-gitea-hook-installation-target-type",
            "x-forgejo-event",
            "x-forgejo-event-type",
            "x-forgejo-delivery",
        ),
    ),
}


class Stored(Protocol):
    """What the store says of a delivery that is durably there."""

    @property
    def is_new(self) -> bool: ...


class Receiver:
    """One POST route. `accept` stores durably and says whether it is new; Transient from it becomes 503."""

    def __init__(  # noqa: PLR0913 - the composition root names every limit
        self,
        *,
        source: Source,
        secrets: Sequence[bytes],
        accept: Callable[[Delivery], Awaitable[Stored]],
        clock: "Clock",
        max_body_bytes: int,
        receive_timeout_s: float,
        allow_unsigned_loopback: bool = False,
        max_waiting: int = 1000,
        counters: Counters | None = None,
    ) -> None:
        self._source = source
        self._sender = _SENDERS[source]
        self._secrets = tuple(secret for secret in secrets if secret)
        self._accept = accept
        self._clock = clock
        self._bodies = BodyReader(max_body_bytes)
        self._receive_timeout_s = receive_timeout_s
        self._allow_unsigned_loopback = allow_unsigned_loopback
        self._max_waiting = max_waiting
        self._waiting = 0
        self._counters = counters or Counters()
        self._quiet: dict[str, tuple[float, int]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        deadline = asyncio.get_running_loop().time() + self._receive_timeout_s
        try:
            stored = await self._received(scope, receive, deadline)
            body = answer_to(await stored)
        except ClientGoneError:
            return
        except (Rejected, Transient) as refusal:
            await self._refuse(refusal, receive, send, deadline)
        else:
            await _answer(send, 200, body)

    def refusing(self, error: BaseException) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
        """An app that says why what `take` began came to nothing. What is no refusal of ours is raised in it."""

        async def refuse(_scope: Scope, receive: Receive, send: Send) -> None:
            if not isinstance(error, Rejected | Transient):
                raise error
            deadline = asyncio.get_running_loop().time() + self._receive_timeout_s
            await self._refuse(error, receive, send, deadline)

        return refuse

    def take(self, scope: Scope, body: bytes) -> "asyncio.Future[Stored]":
        """A whole body: verified, parsed, handed to the store. Raises Rejected or Transient before that.

        Nothing is parsed before the signature was verified. The body is not held while the disk is waited for.
        """
        headers = _headers_of_post(scope)
        self._bodies.refuse_longer(len(body))
        signed = form_payload(body) if self._content_type(headers) == _FORM else body
        if not self._is_authentic(scope, headers, signed):
            raise Rejected(
                "bad_signature",
                "The signature does not verify. Set the same secret in the webhook and in the orchestrator.",
                status=401,
            )
        return self._stored(self._delivery(headers, signed))

    async def _received(self, scope: Scope, receive: Receive, deadline: float) -> "asyncio.Future[Stored]":
        body = await self._bodies.read(_headers_of_post(scope), receive, deadline)
        return self.take(scope, body)

    async def _refuse(self, refusal: Rejected | Transient, receive: Receive, send: Send, deadline: float) -> None:
        self._note(refusal)
        await _refuse(refusal, receive, send, deadline)

    def _content_type(self, headers: Headers) -> bytes:
        if headers.get(b"content-encoding", b"identity").lower() != b"identity":
            raise Rejected("unsupported_encoding", "Send the body without Content-Encoding.", status=415)
        content_type = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        if content_type not in self._sender.content_types:
            wanted = b" or ".join(sorted(self._sender.content_types)).decode()
            raise Rejected("unsupported_type", f"Set the webhook's content type to {wanted}.", status=415)
        return content_type

    def _is_authentic(self, scope: Scope, headers: Headers, signed: bytes) -> bool:
        for name in self._sender.signatures:
            if name in headers:
                return self._sender.signature_ok(signed, headers[name], self._secrets)
        return self._allow_unsigned_loopback and is_direct(scope) and not is_from_page(scope)

    def _delivery(self, headers: Headers, signed: bytes) -> Delivery:
        kept = {
            name: headers[raw][:_HEADER_LENGTH].decode("latin-1")
            for raw, name in self._sender.kept
            if raw in headers
        }
        return Delivery(
            parsed=self._sender.parse(kept, signed),  # first: it rejects what is not text
            source=self._source,
            received_at=self._clock.now(),
            delivery_id=first_of(kept, self._sender.ids),
            body_sha256=hashlib.sha256(signed).hexdigest(),
            payload=signed,
            headers=tuple(kept.items()),
        )

    def _stored(self, delivery: Delivery) -> "asyncio.Future[Stored]":
        if self._waiting >= self._max_waiting:
            raise Transient("busy", "Too many deliveries are waiting to be stored. Send it again later.")
        self._waiting += 1
        stored = asyncio.ensure_future(self._accept(delivery))
        stored.add_done_callback(self._left)
        return stored

    def _left(self, stored: "asyncio.Future[Stored]") -> None:
        self._waiting -= 1
        if not stored.cancelled() and stored.exception() is None:
            answer = "accepted" if stored.result().is_new else "duplicate"
            self._counters.deliveries[self._source, answer] += 1

    def _note(self, refusal: OrchestratorError) -> None:
        """One line per reason and pause: whoever can send rubbish must not be able to fill the disk with lines."""
        status = refusal.status if isinstance(refusal, Rejected) else 503
        self._counters.refused[self._source, str(status), refusal.code] += 1
        now = self._clock.monotonic()
        until, unseen = self._quiet.get(refusal.code, (now, 0))
        if now < until:
            self._quiet[refusal.code] = (until, unseen + 1)
            return
        self._quiet[refusal.code] = (now + _LOG_EVERY_S, 0)
        _log.warning("delivery_refused", source=self._source, code=refusal.code, more_since_last=unseen)


def answer_to(stored: Stored) -> bytes:
    """What a sender whose delivery was stored is told, with 200."""
    return _ACCEPTED if stored.is_new else _DUPLICATE


def _headers_of_post(scope: Scope) -> Headers:
    if scope["method"] != "POST":
        raise Rejected("method_not_allowed", "Webhooks are sent with POST.", status=405)
    return dict(scope["headers"])


async def _refuse(refusal: Rejected | Transient, receive: Receive, send: Send, deadline: float) -> None:
    body = msgspec.json.encode({"status": "rejected", "code": refusal.code, "message": refusal.message})
    if isinstance(refusal, Transient):
        pause = math.ceil(max(refusal.retry_after_s or _RETRY_AFTER_S, 1))
        await _answer(send, 503, body, (b"retry-after", b"%d" % pause))
    elif refusal.status == 405:
        await _answer(send, 405, body, (b"allow", b"POST"), (b"connection", b"close"))
    elif refusal.status == 413:
        await _start(send, 413, body, (b"connection", b"close"))
        await send({"type": "http.response.body", "body": body, "more_body": True})
        # Plane takes a reset connection for a failure, repeats it, and after six switches the webhook off.
        await discard(receive, deadline)
        await send({"type": "http.response.body", "body": b""})
    elif refusal.code == "body_timeout":
        await _answer(send, refusal.status, body, (b"connection", b"close"))
    else:
        await _answer(send, refusal.status, body)


async def _answer(send: Send, status: int, body: bytes, *more: tuple[bytes, bytes]) -> None:
    await _start(send, status, body, *more)
    await send({"type": "http.response.body", "body": body})


async def _start(send: Send, status: int, body: bytes, *more: tuple[bytes, bytes]) -> None:
    headers = [(b"content-type", _JSON), (b"content-length", b"%d" % len(body)), *more]
    await send({"type": "http.response.start", "status": status, "headers": headers})
