"""A request's body on its way in: read within its limits, taken out of a form, decoded into a typed value."""

import asyncio
import binascii
import re
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Final, TypeVar

import msgspec

from orchestrator.domain.errors import Rejected, Transient

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Decoded = TypeVar("Decoded")

LINGER_BYTES: Final = 32 * 1024 * 1024
"""How much of a refused body is read and thrown away, so that its sender gets to see the answer."""
_BODIES_IN_MEMORY: Final = 32
_MOST_LENGTH_DIGITS: Final = 18
_FORM_FIELDS: Final = 16
_FIELD: Final = b"payload="
_UNSAFE: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


class ClientGoneError(Exception):
    """The sender hung up before its body was complete: nobody is left to be answered."""


class UnexpectedShapeError(ValueError):
    """Valid JSON, but a field that we need is not what the contract says."""


class BodyReader:
    """Reads bodies of at most `max_bytes`, each within a deadline, and all together within bounded memory."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._buffered = 0

    async def read(self, headers: Mapping[bytes, bytes], receive: Receive, deadline: float) -> bytes:
        """The whole body. `deadline` is a time of the running loop."""
        self._refuse_declared(headers.get(b"content-length"))
        try:
            async with asyncio.timeout_at(deadline):
                first = await _next(receive)
                if first.get("more_body"):
                    return await self._join(first, receive)
        except TimeoutError:
            raise Rejected(
                "body_timeout", "The body did not arrive in time. Send it in one go, or check the network."
            ) from None
        self.refuse_longer(len(first["body"]))
        return bytes(first["body"])

    async def _join(self, message: Message, receive: Receive) -> bytes:
        body = bytearray()
        try:
            while True:
                chunk = message["body"]
                self._buffered += len(chunk)
                body += chunk
                self.refuse_longer(len(body))
                if not message.get("more_body"):
                    return bytes(body)
                if self._buffered > _BODIES_IN_MEMORY * self._max_bytes:
                    raise Transient("busy", "Too many large bodies are arriving at once. Send it again later.")
                message = await _next(receive)
        finally:
            self._buffered -= len(body)

    def _refuse_declared(self, length: bytes | None) -> None:
        if length is None:
            return
        if not length.isdigit() or len(length) > _MOST_LENGTH_DIGITS:
            raise Rejected("bad_length", "Content-Length is not a number of bytes.")
        self.refuse_longer(int(length))

    def refuse_longer(self, size: int) -> None:
        """Raises Rejected (413) for a body of more than `max_bytes`."""
        if size > self._max_bytes:
            raise Rejected(
                "body_too_large", f"The body is over {self._max_bytes} bytes, the limit here.", status=413
            )


async def _next(receive: Receive) -> Message:
    message = await receive()
    if message["type"] != "http.request":
        raise ClientGoneError
    return message


async def discard(receive: Receive, deadline: float) -> None:
    """Reads on for a moment after a refusal: closing at once would reset the connection and lose the answer."""
    try:
        async with asyncio.timeout_at(deadline):
            left = LINGER_BYTES
            while left > 0:
                message = await _next(receive)
                if not message.get("more_body"):
                    return
                left -= len(message["body"])
    except (TimeoutError, ClientGoneError):
        return


def form_payload(body: bytes) -> bytes:
    """The decoded field `payload` of a form; empty when there is none, which no signature verifies."""
    for field in body.split(b"&", _FORM_FIELDS):
        if field.startswith(_FIELD):
            # Quoted-printable differs from percent-encoding only in the escape sign, and its decoder is in C:
            # 30 times faster than urllib, whose second per 5 MiB of "%41" anybody could ask for unsigned.
            quoted = field[len(_FIELD) :].replace(b"=", b"=3D").replace(b"%", b"=").replace(b"+", b" ")
            return binascii.a2b_qp(quoted)
    return b""


def decode(decoder: "msgspec.json.Decoder[Decoded]", payload: bytes) -> Decoded:
    """Rejected for what is no JSON object in UTF-8; UnexpectedShapeError for one with other types than ours."""
    try:
        if not payload.isascii():
            payload.decode()  # msgspec skips what we do not need without looking at its encoding
        return decoder.decode(payload)
    except msgspec.ValidationError as wrong:
        _require_object(payload)
        raise UnexpectedShapeError(str(wrong)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as malformed:
        raise _malformed(malformed) from None


def _require_object(payload: bytes) -> None:
    """A wrong type stops the decoder where it stands; what follows may still be no JSON."""
    try:
        _OBJECT.decode(payload)
    except msgspec.ValidationError:
        raise Rejected("not_an_object", "The body is JSON, but not an object.") from None
    except (msgspec.DecodeError, RecursionError) as malformed:
        raise _malformed(malformed) from None


def _malformed(error: Exception) -> Rejected:
    return Rejected("malformed_json", f"The body is not JSON in UTF-8: {safe_text(str(error), 120)}.")


_OBJECT: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


def safe_text(text: str, most: int) -> str:
    """Foreign text for rows, logs and terminals: no control character, no surrogate, at most `most` long."""
    cut = text[:most]
    return cut if cut.isascii() and cut.isprintable() else _UNSAFE.sub("\ufffd", cut)
