"""An entry of a log as lines for people, and as JSON for programs. Pure."""

import json
import re
from collections.abc import Iterator
from dataclasses import asdict, fields
from datetime import datetime
from typing import Any

from orchestrator.agents.transcript import (
    ApiFault,
    Denial,
    End,
    Entry,
    Limit,
    Message,
    Note,
    Retry,
    Start,
    Thinking,
    Told,
    ToolCall,
    ToolResult,
    Unreadable,
)
from orchestrator.cli.screen import MAX_CHARS, count, money, plain
from orchestrator.words.folds import Folded

LINES, LINE_CHARS = 6, 200
"""Of what a tool gave back, folded."""
_IN_WORKSPACE = re.compile(r"/\S*/workspace/")
"""What every path in a run's own folder begins with."""
Line = tuple[str, str]
"""A style, and one line of text."""


def as_json(entry: Entry) -> str:
    """`kind` and where the record stands in the log, then what it holds. ASCII alone."""
    place = entry.place
    held = {one.name: _value(getattr(entry, one.name)) for one in fields(entry) if one.name != "place"}
    at = place.at.isoformat() if place.at else None
    return json.dumps({"kind": entry.kind, "offset": place.offset, "end": place.end, "at": at, **held})


def _value(value: Any) -> Any:
    match value:
        case Folded():
            return asdict(value)
        case datetime():
            return value.isoformat()
        case tuple():
            return [_value(one) for one in value]
        case _:
            return value


def lines_of(entry: Entry, *, is_whole: bool = False) -> Iterator[Line]:
    """Notes of the CLI to itself are left out unless all is asked for."""
    match entry:
        case Message(text=text):
            yield from _said(text)
        case Thinking(text=text):
            yield from _text("dim italic", "  · ", text, is_whole=is_whole)
        case Told(text=text):
            yield from _text("blue", "  » ", text, is_whole=is_whole)
        case ToolCall():
            yield from _called(entry, is_whole=is_whole)
        case ToolResult(text=text, is_error=is_error):
            yield from _text("red" if is_error else "dim", "  │ ", text, is_whole=is_whole)
        case Denial(name=name, text=text):
            yield "yellow", plain(f"✗ denied: {name}")
            yield from _text("yellow", "  │ ", text, is_whole=True) if is_whole else ()  # its result says it again
        case Note(name=name, text=text):
            yield from _text("dim", f"  {plain(name, 60)} ", text, is_whole=True) if is_whole else ()
        case Unreadable(size=size, text=text):
            yield "red", f"? {size} bytes that are no record of the CLI:"
            yield from _text("red", "  │ ", text, is_whole=is_whole)
        case _:
            yield from _of_cli(entry)


def _of_cli(entry: Retry | ApiFault | Limit | Start | End) -> Iterator[Line]:
    match entry:
        case Start(model=model, cli_version=version):
            yield "dim", plain(f"started: Claude Code CLI {version}, model {model}")
        case Retry(attempt=attempt, attempts=attempts, delay_s=delay, status=status, code=code):
            said = f"{status or 'no answer'} {code}".strip()
            yield "yellow", plain(f"↻ the model's API: {said}; again in {delay:.1f} s ({attempt} of {attempts})")
        case ApiFault(code=code, status=status, text=text):
            yield "red", plain(f"✗ the model's API refused: {status or 'no answer'} {code}")
            yield from _text("red", "  │ ", text, is_whole=False)
        case Limit(status=status, window=window, resets_at=resets_at):
            if status not in {"allowed", ""}:
                until = f", until {resets_at.astimezone():%Y-%m-%d %H:%M}" if resets_at else ""
                yield "yellow", plain(f"! usage limit {window}: {status}{until}")
        case End():
            yield from _ended(entry)


def _said(text: Folded) -> Iterator[Line]:
    """Nothing that an agent says begins where our own lines begin."""
    for number, (style, line) in enumerate(_text("", "  ", text, is_whole=True)):
        yield style, line if number else f"● {line[2:]}"


def _called(call: ToolCall, *, is_whole: bool) -> Iterator[Line]:
    yield "cyan", plain(f"▸ {call.name} {_IN_WORKSPACE.sub('', call.summary or _fields(call))}".rstrip())
    for name, text in call.fields:
        if is_whole:
            yield "dim", f"  {plain(name, 60)}:"
            yield from _text("dim", "  │ ", text, is_whole=True)


def _fields(call: ToolCall) -> str:
    """The first of them, where none tells by itself what is done."""
    return ", ".join(f"{name}: {text.text.partition(chr(10))[0][:LINE_CHARS]}" for name, text in call.fields[:3])


def _ended(end: End) -> Iterator[Line]:
    word = f"ended with a fault: {end.reason or end.subtype}" if end.is_error else "ended well"
    used = f"{end.turns} turns, {count(end.input_tokens)} tokens read, {count(end.output_tokens)} written"
    denied = f", {end.denials} denials" if end.denials else ""
    told = f"{used}, {money(end.cost_usd)}, {end.seconds:.0f} s{denied}"
    yield "red" if end.is_error else "green", plain(f"the CLI {word}: {told}")
    if end.is_error:
        yield from _text("red", "  │ ", end.text, is_whole=False)


def _text(style: str, margin: str, text: Folded, *, is_whole: bool) -> Iterator[Line]:
    """Line by line, so that a terminal breaks what is too long, and nobody forges a margin."""
    lines = text.text.split("\n") if text else []
    most, chars = (len(lines), MAX_CHARS * 10) if is_whole else (LINES, LINE_CHARS)
    for line in lines[:most]:
        yield style, f"{margin}{plain(line.expandtabs(4), chars)}"
    left = len(lines) - most
    if left > 0 or text.more:
        parts = [f"{left} more lines"] if left > 0 else []
        parts += [f"{text.more} more characters"] if text.more else []
        yield "dim", f"{margin}… {', '.join(parts)}"
