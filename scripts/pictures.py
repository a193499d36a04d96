#!/usr/bin/env python3
"""README's pictures of real screenshots: `pictures.py build/screenshots docs/pictures`.

Chromium writes a PNG quickly and not small. Here it is packed again: without what nobody sees of its colours' last
bits, and with the best filter for each line.
"""

from __future__ import annotations

import argparse
import struct
import zlib
from itertools import pairwise
from pathlib import Path

PICTURES = {"board.png": "board-en-light.png", "task.png": "task-en-light.png"}
MAX_BYTES = 200_000
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_ROUNDED = bytes(min(255, (value + 2) // 4 * 4) for value in range(256))
"""Steps that the eye does not see; white stays white."""


def chunks(data: bytes) -> dict[bytes, bytes]:
    """Each kind of chunk with all its data."""
    found: dict[bytes, bytes] = {}
    at = len(_SIGNATURE)
    while at < len(data):
        size, kind = struct.unpack(">I4s", data[at : at + 8])
        found[kind] = found.get(kind, b"") + data[at + 8 : at + 8 + size]
        at += size + 12
    return found


def lines_of(data: bytes) -> tuple[int, list[bytes]]:
    """The width, and each line as RGB."""
    found = chunks(data)
    width, height, depth, colours, _, _, interlaced = struct.unpack(">IIBBBBB", found[b"IHDR"])
    step = {2: 3, 6: 4}.get(colours, 0)
    if depth != 8 or interlaced or not step:
        raise ValueError("not a PNG as Chromium writes it")
    raw, before, lines = zlib.decompress(found[b"IDAT"]), bytes(width * step), []
    for at in range(0, height * (width * step + 1), width * step + 1):
        before = _unfiltered(raw[at], bytearray(raw[at + 1 : at + 1 + width * step]), before, step)
        lines.append(before if step == 3 else b"".join(before[i : i + 3] for i in range(0, len(before), 4)))
    return width, lines


def _unfiltered(kind: int, line: bytearray, above: bytes, step: int) -> bytes:
    for at in range(len(line)):
        left = line[at - step] if at >= step else 0
        up, corner = above[at], above[at - step] if at >= step else 0
        line[at] = (line[at] + (0, left, up, (left + up) // 2, _paeth(left, up, corner))[kind]) & 255
    return bytes(line)


def _paeth(left: int, up: int, corner: int) -> int:
    guess = left + up - corner
    return min((left, up, corner), key=lambda one: abs(guess - one))


def packed(width: int, lines: list[bytes]) -> bytes:
    """With a palette when there are few colours; then no filter helps."""
    rounded = [line.translate(_ROUNDED) for line in lines]
    colours = sorted({line[i : i + 3] for line in rounded for i in range(0, len(line), 3)})
    if len(colours) <= 256:
        place = {colour: number for number, colour in enumerate(colours)}
        body = b"".join(b"\0" + bytes(place[line[i : i + 3]] for i in range(0, len(line), 3)) for line in rounded)
        return _png(width, len(lines), 3, zlib.compress(body, 9), b"".join(colours))
    filtered = (_filtered(line, above) for above, line in pairwise([bytes(3 * width), *rounded]))
    return _png(width, len(lines), 2, zlib.compress(b"".join(filtered), 9))


def _filtered(line: bytes, above: bytes) -> bytes:
    up = bytes((a - b) & 255 for a, b in zip(line, above, strict=True))
    left = bytes((a - b) & 255 for a, b in zip(line, bytes(3) + line, strict=False))
    ways = (b"\0" + line, b"\1" + left, b"\2" + up)
    return min(ways, key=lambda way: sum(min(one, 256 - one) for one in way[1:]))


def _png(width: int, height: int, kind: int, body: bytes, palette: bytes = b"") -> bytes:
    head = struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0)
    parts = [(b"IHDR", head), *([(b"PLTE", palette)] if palette else []), (b"IDAT", body), (b"IEND", b"")]
    return _SIGNATURE + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in parts
    )


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Pack README's pictures of screenshots.")
    parser.add_argument("screenshots", type=Path)
    parser.add_argument("pictures", type=Path)
    given = parser.parse_args(argv)
    given.pictures.mkdir(parents=True, exist_ok=True)
    is_small = True
    for name, screenshot in PICTURES.items():
        small = packed(*lines_of((given.screenshots / screenshot).read_bytes()))
        (given.pictures / name).write_bytes(small)
        print(f"{given.pictures / name}: {len(small) // 1000} kB")
        is_small = is_small and len(small) <= MAX_BYTES
    return 0 if is_small else 1


if __name__ == "__main__":
    raise SystemExit(main())
