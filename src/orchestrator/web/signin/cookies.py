"""Cookies by hand: read from a request that no framework has seen, and written with all that keeps them safe."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from orchestrator.web.signin.hosts import values

SESSION: Final = "orch_session"
MAX_HEADER_BYTES: Final = 16 * 1024


@dataclass(frozen=True, slots=True)
class Cookies:
    """`prefix` is the path under which browsers see us; `is_secure` when they do by https."""

    prefix: str = ""
    is_secure: bool = False

    def name(self, plain: str, *, path: str = "") -> str:
        """With the prefix by which a browser refuses it from whoever may not set it: no other host below ours may
        put a cookie of its own in the place of this one.
        """
        if not self.is_secure:
            return plain
        return f"__Secure-{plain}" if self.prefix or path else f"__Host-{plain}"

    def read(self, scope: Mapping[str, Any], plain: str, *, path: str = "") -> str:
        """Empty when there is none, or more than one: which of them is ours nobody can tell."""
        wanted, found = self.name(plain, path=path), list[str]()
        for header in values(scope, b"cookie"):
            for pair in header[:MAX_HEADER_BYTES].decode("latin-1").split(";"):
                name, _, value = pair.strip().partition("=")
                if name == wanted:
                    found.append(value.strip('"'))
        return found[0] if len(found) == 1 else ""

    def written(self, plain: str, value: str, max_age_s: int, *, path: str = "") -> str:
        """The value of Set-Cookie. Lax, not Strict: people come by links from Plane and Gitea, and back from
        Gitea's sign-in; Strict would meet them as strangers. No change is made by what Lax lets through.
        """
        parts = [
            f"{self.name(plain, path=path)}={value}",
            f"Path={self.prefix}{path}" if self.prefix + path else "Path=/",
        ]
        parts += [f"Max-Age={max_age_s}", "HttpOnly", "SameSite=Lax"]
        return "; ".join([*parts, "Secure"] if self.is_secure else parts)

    def removed(self, plain: str, *, path: str = "") -> str:
        return self.written(plain, "", 0, path=path)
