"""Logging: events with fields, JSON unless a person watches, and no secret ever.

A service that rests most of the time writes each line with nothing in the processor's caches, so what counts is
how much code a line passes through: one function makes it, and looks closer only where something is odd.
"""

import contextlib
import json
import logging
import re
import sys
from collections.abc import Callable, Iterable
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, Processor

from orchestrator.clock import SystemClock

MASK = "[secret]"
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def set_up(level: str, secrets: Iterable[str]) -> None:
    """Configures structlog once, for the process. `secrets` are masked wherever they turn up."""
    made: list[Processor] = _for_a_person(secrets) if sys.stderr.isatty() else [line(secrets)]
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, *made],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.WriteLoggerFactory(_Unfailing(sys.stderr)),  # type: ignore[arg-type]
        cache_logger_on_first_use=True,
    )


def _for_a_person(secrets: Iterable[str]) -> list[Processor]:
    return [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        redactor(secrets),
        structlog.dev.ConsoleRenderer(),
    ]


def line(secrets: Iterable[str]) -> Processor:
    """The event as one line of JSON, with its level and its moment (ISO 8601, UTC)."""
    known = _known(secrets)
    redact, odd = redactor(known), _odd(known)

    def rendered(logger: object, method: str, event: EventDict) -> str:
        event["level"] = method
        event["timestamp"] = f"{_CLOCK.now().replace(tzinfo=None).isoformat()}Z"
        if "exc_info" in event:
            event = structlog.processors.format_exc_info(logger, method, event)
        text = _JSON.encode(event)
        return _JSON.encode(redact(logger, method, event)) if odd(text) else text

    return rendered


_JSON = json.JSONEncoder(default=str)
_CLOCK = SystemClock()


def _odd(secrets: Iterable[str]) -> Callable[[str], object]:
    """Whether there may be a secret in a text of JSON, or a control character that is no line's end or tab."""
    escaped = (re.escape(_JSON.encode(secret)[1:-1]) for secret in secrets)
    return re.compile("|".join((r"\\u00(?:[0189]|7f)", r"\\[bfr]", *escaped))).search


class _Unfailing:
    """A disk that is too full for a log line must not stop what the line tells of."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError):
            self._stream.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.flush()


def masker(secrets: Iterable[str]) -> Callable[[str], str]:
    """Masks secrets in a text by value."""
    known = _known(secrets)
    return lambda text: _masked(text, known)


def _masked(text: str, secrets: list[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, MASK)
    return text


def _known(secrets: Iterable[str]) -> list[str]:
    """The longest first: one may be part of another."""
    return sorted({secret for secret in secrets if len(secret) >= 4}, key=len, reverse=True)


def redactor(secrets: Iterable[str]) -> Processor:
    """Masks by value, so that it does not matter under which name a secret arrives."""
    known = _known(secrets)

    def redact(_logger: object, _method: str, event: EventDict) -> EventDict:
        return {name: _clean(value, known) for name, value in event.items()}

    return redact


def _clean(value: Any, secrets: list[str]) -> Any:
    if isinstance(value, str):
        return _CONTROL.sub("�", _masked(value, secrets))
    if isinstance(value, dict):
        return {name: _clean(one, secrets) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(one, secrets) for one in value]
    return value if isinstance(value, int | float | None) else _clean(str(value), secrets)
