"""Which names we answer to, and which pages are ours: against DNS rebinding and requests of other pages."""

from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

LOOPBACK: Final = ("localhost", "127.0.0.1", "[::1]")
_FOREIGN_SITES: Final = (b"cross-site", b"same-site")
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


class Hosts:
    """`names` are host names without a port; `public_url` is where people reach us, or empty."""

    def __init__(self, names: Iterable[str] = (), public_url: str = "") -> None:
        self._public = origin(public_url)
        public_name = name_of(self._public.partition("://")[2])
        named = {one.strip().lower() for one in names if one.strip()}
        self._names = frozenset(named or ({public_name} - {""})) | set(LOOPBACK)
        self._public_name = public_name

    def is_allowed(self, scope: Mapping[str, Any]) -> bool:
        """A page of another name that leads to our address sends that name: it must not get an answer."""
        return name_of(_host(scope)) in self._names

    def is_foreign(self, scope: Mapping[str, Any]) -> bool:
        """The browser itself says that a page of another origin asks."""
        given = values(scope, b"origin")
        if any(site in _FOREIGN_SITES for site in values(scope, b"sec-fetch-site")):
            return True
        return any(one.decode("latin-1").lower() not in self._own(scope) for one in given)

    def is_own_page(self, scope: Mapping[str, Any]) -> bool:
        """The browser says that a page of ours asks. Without its word nobody knows."""
        return len(values(scope, b"origin")) == 1 and not self.is_foreign(scope)

    def _own(self, scope: Mapping[str, Any]) -> set[str]:
        """Our public origin; and, under another of our names, what the browser must have asked for."""
        host = _host(scope)
        own, name = {self._public} - {""}, name_of(host)
        if name != self._public_name or name in LOOPBACK:
            own |= {origin(f"{scheme}://{host}") for scheme in _DEFAULT_PORTS}
        return own


def origin(url: str) -> str:
    """As browsers write it: no default port, lower case. Empty when there is none."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return ""
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
        return ""
    name = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{name}" + ("" if port in {None, _DEFAULT_PORTS[parts.scheme]} else f":{port}")


def name_of(host: str) -> str:
    """A Host header without its port."""
    name, colon, port = host.lower().rpartition(":")
    return name if colon and port.isascii() and port.isdigit() else host.lower()


def values(scope: Mapping[str, Any], name: bytes) -> list[bytes]:
    """Every value that the request has for this header."""
    return [value for given, value in scope["headers"] if given == name]


def _host(scope: Mapping[str, Any]) -> str:
    """Empty, which is nobody's name, when there is none or more than one."""
    given = values(scope, b"host")
    return given[0].decode("latin-1") if len(given) == 1 else ""
