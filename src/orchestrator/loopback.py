"""Who really speaks from this machine. Judged on the ASGI scope alone: peer, headers, Host."""

import ipaddress
from collections.abc import Mapping
from typing import Any, Final

_FORWARDED: Final = (b"forwarded", b"x-real-ip", b"via")
_FROM_PAGE: Final = (b"origin", b"referer")
_NAMES: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})


def is_direct(scope: Mapping[str, Any]) -> bool:
    """From this machine, through no proxy, asking for this machine by name (no DNS rebinding)."""
    headers = scope["headers"]
    if any(name in _FORWARDED or name.startswith(b"x-forwarded-") for name, _ in headers):
        return False
    hosts = [value for name, value in headers if name == b"host"]
    return len(hosts) == 1 and _is_own_name(hosts[0]) and _is_own_address(scope.get("client"))


def is_from_page(scope: Mapping[str, Any]) -> bool:
    """Sent by a browser for some page, which may be anybody's: it can post a form to localhost."""
    return any(name in _FROM_PAGE or name.startswith(b"sec-fetch-") for name, _ in scope["headers"])


def _is_own_name(host: bytes) -> bool:
    whole = host.decode("latin-1").lower()
    name, colon, port = whole.rpartition(":")
    return (name if colon and port.isdigit() else whole) in _NAMES


def _is_own_address(client: tuple[str, int] | None) -> bool:
    try:
        return client is not None and ipaddress.ip_address(client[0]).is_loopback
    except ValueError:
        return False
