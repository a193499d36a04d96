"""The token against foreign forms, read from a request before the app behind sees it."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl

from orchestrator.web.signin.hosts import values

FIELD: Final = "csrf"
HEADER: Final = b"x-csrf-token"
MAX_FORM_BYTES: Final = 256 * 1024
"""Of a form of ours; the longest has a reason for sending something back."""
MAX_FIELDS: Final = 100
READ_S: Final = 10.0
FORM: Final = b"application/x-www-form-urlencoded"

Receive = Callable[[], Awaitable[Mapping[str, Any]]]


async def carried(scope: Mapping[str, Any], receive: Receive) -> tuple[str, Receive]:
    """The token that came along, and what the app is to receive instead: what was read comes again.

    Programs in the page send it in a header; forms in a field. A body that is too large, too slow or no form has
    none. It is read only of who is known already.
    """
    given = values(scope, HEADER)
    if given:
        return given[0].decode("latin-1"), receive
    body = await _read(receive) if _is_form(scope) else None
    return ("", receive) if body is None else (_fields(body).get(FIELD, ""), _again(body, receive))


async def fields(scope: Mapping[str, Any], receive: Receive) -> Mapping[str, str]:
    """Of a form, each that is there once; none when it is no form, too large or too slow."""
    body = await _read(receive) if _is_form(scope) else None
    return {} if body is None else _fields(body)


def _is_form(scope: Mapping[str, Any]) -> bool:
    kinds = values(scope, b"content-type")
    return len(kinds) == 1 and kinds[0].partition(b";")[0].strip().lower() == FORM


async def _read(receive: Receive) -> bytes | None:
    parts, size = list[bytes](), 0
    try:
        async with asyncio.timeout(READ_S):
            while True:
                message = await receive()
                if message["type"] != "http.request":
                    return None
                parts.append(message.get("body", b""))
                size += len(parts[-1])
                if size > MAX_FORM_BYTES:
                    return None
                if not message.get("more_body", False):
                    return b"".join(parts)
    except TimeoutError:
        return None


def _fields(body: bytes) -> Mapping[str, str]:
    try:
        pairs = parse_qsl(body.decode("latin-1"), keep_blank_values=True, max_num_fields=MAX_FIELDS)
    except ValueError:
        return {}
    names = [name for name, _ in pairs]
    return {name: value for name, value in pairs if names.count(name) == 1}


def _again(body: bytes, receive: Receive) -> Receive:
    is_given = False

    async def again() -> Mapping[str, Any]:
        nonlocal is_given
        if is_given:
            return await receive()
        is_given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again
