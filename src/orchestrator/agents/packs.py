"""Reads a git bundle without git: what it names, and what its pack would unpack to, before anything unpacks it."""

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, NoReturn

from orchestrator.domain.errors import Permanent

_HEADER_MAX_BYTES = 64 * 1024
_SIGNATURES = (b"# v2 git bundle\n", b"# v3 git bundle\n")
_REF = re.compile(rb"([0-9a-f]{40}|[0-9a-f]{64}) (refs/heads/[^\n]+)\n")
_FORMAT = re.compile(rb"@object-format=sha(1|256)\n")
_FIRST_READ = 4096
_READ = 256 * 1024
_PIECE = 1024 * 1024
_OFS_DELTA, _REF_DELTA = 6, 7
_PLAIN = frozenset({1, 2, 3, 4})
_VARINT_MAX_BYTES = 10
"""Nine groups of seven bits are more than any size."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """The one branch in it, and where its pack begins."""

    ref: str
    head: str
    pack_at: int


@dataclass(frozen=True, slots=True)
class PackLimits:
    """Of one pack, once unpacked."""

    bytes: int
    objects: int = 200_000


def read_header(file: IO[bytes]) -> Bundle:
    """Raises Permanent for what is no bundle of exactly one branch."""
    lines = _header_lines(file.read(_HEADER_MAX_BYTES))
    if next(lines, b"") not in _SIGNATURES:
        _refuse("it is no git bundle")
    found: list[tuple[bytes, bytes]] = []
    at = len(_SIGNATURES[0])
    for line in lines:
        at += len(line)
        if line == b"\n":
            break
        if line.startswith(b"-") or _FORMAT.fullmatch(line):
            continue
        if (named := _REF.fullmatch(line)) is None:
            _refuse("its header has a line that a branch's bundle has not")
        found.append((named[1], named[2]))
    else:
        _refuse("its header does not end")
    if len(found) != 1:
        _refuse(f"it holds {len(found)} branches instead of one")
    head, ref = found[0]
    return Bundle(ref.decode(errors="replace"), head.decode(), at)


def _header_lines(raw: bytes) -> Iterator[bytes]:
    at = 0
    while (end := raw.find(b"\n", at)) >= 0:
        yield raw[at : end + 1]
        at = end + 1


def unpacked_bytes(file: IO[bytes], at: int, limits: PackLimits, hash_bytes: int) -> int:
    """The size of all objects of the pack, deltas counted as what they make. Found by inflating them piece by
    piece: memory stays small, and the walk ends where the limit is passed.
    """
    reader = _Reader(file, at)
    if reader.take(4) != b"PACK":
        _refuse("its pack has no beginning")
    reader.take(4)
    count = int.from_bytes(reader.take(4), "big")
    if count > limits.objects:
        refuse_size(f"{count} objects", f"{limits.objects} objects")
    total = 0
    for _ in range(count):
        total += _object_bytes(reader, limits.bytes - total, hash_bytes)
        if total > limits.bytes:
            refuse_size("its objects unpacked", f"{limits.bytes} bytes")
    return total


def _object_bytes(reader: "_Reader", most: int, hash_bytes: int) -> int:
    """More than `most` as soon as it is known to be more."""
    kind, size = _kind_and_size(reader)
    if kind == _OFS_DELTA:
        while reader.take(1)[0] & 0x80:
            continue
    elif kind == _REF_DELTA:
        reader.take(hash_bytes)
    elif kind not in _PLAIN:
        _refuse(f"its pack has an object of the unknown kind {kind}")
    if size > most:
        return size
    start, made = reader.inflate(size)
    if made != size:
        _refuse("an object of its pack has another size than it says")
    return _delta_makes(start) if kind in {_OFS_DELTA, _REF_DELTA} else size


def _kind_and_size(reader: "_Reader") -> tuple[int, int]:
    byte = reader.take(1)[0]
    kind, size, shift = byte >> 4 & 7, byte & 15, 4
    while byte & 0x80:
        byte = reader.take(1)[0]
        size |= (byte & 0x7F) << shift
        shift += 7
        if shift > 7 * _VARINT_MAX_BYTES:
            _refuse("an object's size in its pack has no end")
    return kind, size


def _delta_makes(start: bytes) -> int:
    """A delta begins with the size of what it changes and the size of what it makes."""
    _, at = _varint(start, 0)
    return _varint(start, at)[0]


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    value = number = 0
    for number, byte in enumerate(raw[at : at + _VARINT_MAX_BYTES]):
        value |= (byte & 0x7F) << 7 * number
        if not byte & 0x80:
            break
    else:
        _refuse("a delta of its pack has no size")
    return value, at + number + 1


class _Reader:
    """A position in the file; what was read ahead is given back."""

    def __init__(self, file: IO[bytes], at: int) -> None:
        self._file = file
        self._at = at
        self._ahead = b""

    def take(self, count: int) -> bytes:
        while len(self._ahead) < count:
            self._more(_FIRST_READ)
        taken, self._ahead = self._ahead[:count], self._ahead[count:]
        return taken

    def inflate(self, most: int) -> tuple[bytes, int]:
        """How the next object begins once inflated, and how long it is: at most one byte above `most`."""
        stream, start, made = zlib.decompressobj(), b"", 0
        waiting, self._ahead = self._ahead, b""
        try:
            while not stream.eof and made <= most:
                if not waiting and not stream.unconsumed_tail:
                    self._more(_READ)
                    waiting, self._ahead = self._ahead, b""
                piece = stream.decompress(stream.unconsumed_tail + waiting, min(_PIECE, most + 1 - made))
                waiting = b""
                made += len(piece)
                start += piece[: 2 * _VARINT_MAX_BYTES - len(start)] if len(start) < 2 * _VARINT_MAX_BYTES else b""
        except zlib.error:
            _refuse("an object of its pack cannot be inflated")
        self._ahead = stream.unused_data
        return start, made

    def _more(self, count: int) -> None:
        self._file.seek(self._at)
        piece = self._file.read(count)
        if not piece:
            _refuse("its pack ends in the middle of an object")
        self._at += len(piece)
        self._ahead += piece


def _refuse(why: str) -> NoReturn:
    raise Permanent(
        "bad_bundle",
        f"What the run gave back cannot be read: {why}. Nothing was taken from it.",
        hint="Look at the run's log: an agent may have damaged its .git. Then retry the task.",
    )


def refuse_size(what: str, limit: str) -> NoReturn:
    """Of whatever part of a result is too large."""
    raise Permanent(
        "result_too_large",
        f"The run's commits are too large: {what}, more than {limit}. Nothing was published.",
        hint="Look what was committed (build output, data?). If it is meant, raise the limit: "
        "ORCH_RUN_MAX_RESULT_BYTES, …_UNPACKED_BYTES, …_FILES or …_COMMITS; then retry the task.",
    )
