"""Frozen values as canonical JSON and back. Every object names its class, so that unions survive the trip."""

from collections.abc import Iterable
from dataclasses import fields
from datetime import datetime
from enum import Enum
from functools import cache, lru_cache
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import msgspec

_encoder = msgspec.json.Encoder()


def encode(value: object) -> str:
    """The same value gives the same text: keys stand in the order of the fields of the dataclass or struct."""
    return _encoder.encode(_plain(value)).decode()


def decode(text: str, classes: Iterable[type]) -> Any:
    """The value that `encode` was given; `classes` are all that may occur in it."""
    return _restored(msgspec.json.decode(text), object, {one.__name__: one for one in classes})


def _plain(value: object) -> object:
    cls = type(value)
    if cls in _LEAVES:
        return value
    if cls is tuple or cls is list:
        return [_plain(one) for one in value]  # type: ignore[attr-defined]  # both are iterable
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, datetime):
        return value.isoformat()
    names = _names(cls)  # type: ignore[arg-type]  # classes are hashable, whatever their instances are
    return {"type": cls.__name__, **{name: _plain(getattr(value, name)) for name in names}}


_LEAVES: frozenset[type] = frozenset({str, int, float, bool, type(None)})


@cache
def _names(cls: Any) -> tuple[str, ...]:
    """Raises TypeError for what is neither: better than text that nobody can read back."""
    if issubclass(cls, msgspec.Struct):
        return tuple(field.name for field in msgspec.structs.fields(cls))
    return tuple(field.name for field in fields(cls))


def _restored(value: Any, hint: Any, classes: dict[str, type]) -> Any:
    kind = type(value)
    if kind is dict:
        cls = classes[value.pop("type")]
        hints = _hints(cls)
        return cls(**{name: _restored(one, hints[name], classes) for name, one in value.items()})
    if kind is list:
        return tuple(
            _restored(one, inner, classes) for one, inner in zip(value, _inner(hint, len(value)), strict=True)
        )
    return value if kind in _as_is(hint) else msgspec.convert(value, hint)


@cache
def _as_is(hint: Any) -> frozenset[type]:
    """What stands for itself where this is meant: a text does not where it may be an enum's or a moment's."""
    if hint is object:
        return _LEAVES
    options = get_args(hint) if get_origin(hint) in {Union, UnionType} else (hint,)
    real = {getattr(one, "__supertype__", one) for one in options}
    is_worded = any(isinstance(one, type) and issubclass(one, Enum | datetime) for one in real)
    return (_LEAVES & real) - ({str} if is_worded else set())


@lru_cache(maxsize=1024)
def _inner(hint: Any, length: int) -> tuple[Any, ...]:
    """The hints of a tuple's elements; of a union, its tuple is meant."""
    tuples = [one for one in (hint, *get_args(hint)) if get_origin(one) is tuple]
    if not tuples:
        return (object,) * length
    inner = get_args(tuples[0])
    return (inner[0],) * length if inner[-1] is ... else inner


@cache
def _hints(cls: type) -> dict[str, Any]:
    return get_type_hints(cls)
