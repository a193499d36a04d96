r"""JSON that may be shown as it comes: in a terminal, a log, a pager.

What moves a screen, turns a text's direction or is not seen at all is written as `\uXXXX`: the same text for who
reads JSON.
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

_UNSEEN: Final = re.compile(
    rb"\x7f|\xc2[\x80-\x9f]|\xd8\x9c|\xe2\x80[\x8b-\x8f\xa8-\xae]|\xe2\x81[\xa0-\xaf]|\xef\xbb\xbf|\xef\xbf[\xb9-\xbb]"
)
"""In UTF-8: DEL, C1, marks of direction, separators of lines, joiners without width, the byte order mark. An
encoder of JSON writes C0 so by itself, and none of these ever stands outside a string.
"""
_KINDS: Final = (b"application/json", b"application/problem+json")
Message = Mapping[str, Any]


def escaped(text: bytes) -> bytes:
    """The same JSON, in UTF-8."""
    return _UNSEEN.sub(_as_code, text)


def _as_code(found: re.Match[bytes]) -> bytes:
    return b"\\u%04x" % ord(found[0].decode())


class Escaping:
    """An ASGI app whose answers in JSON are escaped. They are whole in our memory anyway."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        is_http = scope["type"] == "http"
        await self._app(scope, receive, _Sender(send).send if is_http else send)


class _Sender:
    """Holds the head of an answer back until its body is known."""

    def __init__(self, send: Callable[[Message], Awaitable[None]]) -> None:
        self._send = send
        self._head: Message | None = None
        self._parts: list[bytes] = []

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start" and _is_json(message):
            self._head = message
        elif self._head is None or message["type"] != "http.response.body":
            await self._send(message)
        else:
            self._parts.append(message.get("body", b""))
            if not message.get("more_body", False):
                await self._whole(self._head, escaped(b"".join(self._parts)))

    async def _whole(self, head: Message, body: bytes) -> None:
        others = [(name, value) for name, value in head["headers"] if name != b"content-length"]
        await self._send({**head, "headers": [*others, (b"content-length", b"%d" % len(body))]})
        await self._send({"type": "http.response.body", "body": body})


def _is_json(head: Message) -> bool:
    kinds = [value for name, value in head["headers"] if name == b"content-type"]
    return any(kind.partition(b";")[0] in _KINDS for kind in kinds)
