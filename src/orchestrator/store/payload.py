"""How a signed body lies in `events.payload`: a small one as text, a large one deflated (zlib, RFC 1950).

Pushes shrink to a fifth or less, and so does what each commit and each checkpoint writes (ADR 7).
"""

import zlib

from isal import isal_zlib

PLAIN_MAX_BYTES = 4096
"""Up to here a body stays readable for every tool, and deflating would save little. Most of Plane's are."""
_FASTEST = 0


def packed(body: bytes) -> str | bytes:
    """What to store for a body in UTF-8: text, or deflated bytes."""
    return body.decode() if len(body) <= PLAIN_MAX_BYTES else isal_zlib.compress(body, _FASTEST)


def unpacked(stored: str | bytes) -> bytes:
    """The body that `packed` was given, byte for byte."""
    return stored.encode() if isinstance(stored, str) else zlib.decompress(stored)
