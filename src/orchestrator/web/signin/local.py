"""Where somebody wanted to go before they were asked who they are: only ever to a page of ours."""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

HOME: Final = "/"
MAX_CHARS: Final = 1000
_SAFE: Final = "/-._~!$&'()*+,;=:@%"


def local(wanted: str) -> str:
    """The path and query when they lead to a page of ours, else the board.

    Browsers drop tabs and line ends, and take a backslash for a slash, so a tab between two slashes leads away. So
    nothing but plain printable ASCII is taken, and never two slashes at the start.
    """
    is_plain = wanted.isascii() and wanted.isprintable() and not set(wanted) & {" ", "\\", "#"}
    if not is_plain or len(wanted) > MAX_CHARS or not wanted.startswith("/") or wanted.startswith("//"):
        return HOME
    path = wanted.partition("?")[0]
    return HOME if path.startswith(("/sign-in", "/sign-out", "/actions")) else wanted


def wanted(scope: Mapping[str, Any]) -> str:
    """What this request asked for, as `local` takes it."""
    query = scope.get("query_string", b"").decode("latin-1")
    path = quote(scope["path"], safe=_SAFE.replace("%", ""))
    return local(f"{path}?{query}" if query else path)


def from_page(address: str, prefix: str) -> str:
    """The page of ours that a header of the browser names by its whole address."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return HOME
    path = parts.path.removeprefix(prefix) or HOME
    return local(f"{path}?{parts.query}" if parts.query else path)


def sign_in(prefix: str, after: str) -> str:
    """The address of the sign-in page, that leads to `after`."""
    return f"{prefix}/sign-in" + ("" if after == HOME else f"?{urlencode({'next': after})}")
