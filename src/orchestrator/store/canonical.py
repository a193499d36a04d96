"""Frozen values as canonical JSON and back. Every object names its class, so that unions survive the trip."""

from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from datetime import datetime
from enum import Enum
from functools import cache
from typing import Any, get_args, get_type_hints

import msgspec

_encoder = msgspec.json.Encoder()


def encode(value: object) -> str:
    """The same value gives the same text: keys stand in the order of the class's fields."""
    return _encoder.encode(_plain(value)).decode()


def decode(text: str, classes: Iterable[type]) -> Any:
    """The value that `encode` was given; `classes` are all that may occur in it."""
    return _restored(msgspec.json.decode(text), object, {one.__name__: one for one in classes})


def _plain(value: object) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        named = {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
        return {"type": type(value).__name__, **named}
    if isinstance(value, tuple | list):
        return [_plain(one) for one in value]
    if isinstance(value, Enum):
        return value.value
    return value.isoformat() if isinstance(value, datetime) else value


def _restored(value: Any, hint: Any, classes: dict[str, type]) -> Any:
    if isinstance(value, dict):
        cls = classes[value.pop("type")]
        hints = _hints(cls)
        return cls(**{name: _restored(one, hints[name], classes) for name, one in value.items()})
    if isinstance(value, list):
        inner = (get_args(hint) or (object,))[0]
        return tuple(_restored(one, inner, classes) for one in value)
    return value if hint is object else msgspec.convert(value, hint)


@cache
def _hints(cls: type) -> dict[str, Any]:
    return get_type_hints(cls)
