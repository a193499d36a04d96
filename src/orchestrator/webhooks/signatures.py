"""Who sent it: HMAC-SHA256 over the exact bytes, before anybody looks into them. Pure."""

import hmac
from collections.abc import Sequence

_HEX_DIGITS = 64
_GITHUB_STYLE = b"sha256="


def plane_signature_ok(raw: bytes, header: bytes | None, secrets: Sequence[bytes]) -> bool:
    """True when one of the secrets made exactly this header (64 lower-case hex digits) for these bytes."""
    if header is None or len(header) != _HEX_DIGITS:
        return False
    # Bytes, not str: compare_digest refuses str with non-ASCII characters by raising.
    # An empty secret never counts: anybody can sign with it.
    return any(
        hmac.compare_digest(hmac.digest(secret, raw, "sha256").hex().encode(), header)
        for secret in secrets
        if secret
    )


def gitea_signature_ok(raw: bytes, header: bytes | None, secrets: Sequence[bytes]) -> bool:
    """As for Plane; X-Hub-Signature-256 says the same behind `sha256=`. A form signs its decoded field."""
    return header is not None and plane_signature_ok(raw, header.removeprefix(_GITHUB_STYLE), secrets)
