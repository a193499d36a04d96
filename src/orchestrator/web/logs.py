"""Parts of a run's log as entries: its end, what comes before a place, what comes after one. Bounded, however long
the log and its lines are.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from orchestrator.agents.transcript import LINE_MAX_BYTES, Entry, Transcript

RECORDS = 300
"""Of one page: some screens full, and quickly made."""
_STEP_BYTES = 64 * 1024
_MOST_BYTES = 2 * 1024 * 1024
"""Of one page, unless a single record is longer."""


@dataclass(frozen=True, slots=True)
class Part:
    """The entries of the records from `start` up to `end`, of a log of `size` bytes. The beginning of a record, as
    an agent at work leaves it, is nothing that comes later.
    """

    entries: list[Entry]
    start: int
    end: int
    size: int
    has_later: bool = False

    @property
    def has_earlier(self) -> bool:
        return self.start > 0


def last(path: Path, before: int | None = None, records: int = RECORDS) -> Part:
    """The last records that end at `before` or earlier; without it, of the whole log."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            until = size if before is None else max(0, min(before, size))
            start = _start(file, until, records)
            is_within = _is_within(file, start)
            file.seek(start)
            part = _part(file.read(until - start), start, size, is_within=is_within)
            return replace(part, has_later=until < size)
    except FileNotFoundError:
        return Part([], 0, 0, 0)


def after(path: Path, offset: int, records: int = RECORDS) -> Part:
    """The first records that begin at `offset` or later."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            start = max(0, min(offset, size))
            is_within = _is_within(file, start)
            file.seek(start)
            data, has_more = _forward(file, records + is_within)
            return replace(_part(data, start, size, is_within=is_within), has_later=has_more)
    except FileNotFoundError:
        return Part([], 0, 0, 0)


def half_line(path: Path, offset: int) -> list[Entry]:
    """What stands after the last whole record of a log to which nothing more will come."""
    try:
        with path.open("rb") as file:
            file.seek(offset)
            transcript = Transcript(offset)
            return [*transcript.feed(file.read(LINE_MAX_BYTES)), *transcript.finish()]
    except FileNotFoundError:
        return []


def pieces(path: Path) -> Iterator[bytes]:
    """The whole log as it is now, a piece at a time, and not a byte of what comes meanwhile."""
    with path.open("rb") as file:
        left = file.seek(0, 2)
        file.seek(0)
        while left > 0 and (piece := file.read(min(_STEP_BYTES * 4, left))):
            left -= len(piece)
            yield piece


def _part(data: bytes, start: int, size: int, *, is_within: bool) -> Part:
    transcript = Transcript(start, is_within=is_within)
    entries = transcript.feed(data)
    is_endless = not entries and len(data) > LINE_MAX_BYTES
    end = start + len(data) if is_endless else transcript.offset
    return Part(entries, entries[0].place.offset if entries else start, end, size)


def _is_within(file: BinaryIO, offset: int) -> bool:
    """No record begins there."""
    if offset == 0:
        return False
    file.seek(offset - 1)
    return file.read(1) != b"\n"


def _start(file: BinaryIO, until: int, records: int) -> int:
    """Where the last `records` lines before `until` begin; within a line when they are long ones."""
    position, pieces, ends = until, list[bytes](), 0
    while position > 0:
        step = min(_STEP_BYTES, position)
        position -= step
        file.seek(position)
        pieces.append(file.read(step))
        ends += pieces[-1].count(b"\n")
        if ends > records:
            return position + _nth_end(b"".join(reversed(pieces)), records + 1) + 1
        read = until - position
        if (read >= _MOST_BYTES and ends > 1) or read > LINE_MAX_BYTES:
            return position
    return 0


def _nth_end(data: bytes, number: int) -> int:
    """Counted from the last line end."""
    at = len(data)
    for _ in range(number):
        at = data.rfind(b"\n", 0, at)
    return at


def _forward(file: BinaryIO, records: int) -> tuple[bytes, bool]:
    """At most `records` lines, and at least one, whole or too long; and whether there are more."""
    data, ends = bytearray(), 0
    while ends < records and (piece := file.read(_STEP_BYTES)):
        data += piece
        ends += piece.count(b"\n")
        if (len(data) >= _MOST_BYTES and ends) or len(data) > LINE_MAX_BYTES:
            break
    at = -1
    for _ in range(min(records, ends)):
        at = data.find(b"\n", at + 1)
    is_end = not file.read(1)
    return bytes(data[: at + 1] if ends else data), ends > records or not is_end
