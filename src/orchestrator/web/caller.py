"""Who asks, as Access found out: what every page and endpoint may know of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

KEY: Final = "orchestrator.caller"
"""Where the ASGI scope has the Caller."""


class Scope(IntEnum):
    """What a caller may do; each includes those below it."""

    NONE = 0
    """The sign-in page and what it needs; nobody else's pages are asked for with it."""
    READ = 1
    OPERATE = 2
    """Stop, retry, pause, resume, replay, post."""
    ADMIN = 3
    """Tokens."""


@dataclass(frozen=True, slots=True)
class Caller:
    """`login` is the person's in Gitea, empty for this machine and for a token that speaks for nobody. `csrf` goes
    into every form.
    """

    name: str
    scope: Scope
    login: str = ""
    csrf: str = ""
    session: str = ""
    """The id of the session that the request came by; empty when it came by none."""

    def __bool__(self) -> bool:
        """False for nobody: who is only on the way to the sign-in page."""
        return self.scope > Scope.NONE

    def may(self, scope: Scope) -> bool:
        return self.scope >= scope


NOBODY: Final = Caller("", Scope.NONE)
THIS_MACHINE: Final = Caller("this machine", Scope.ADMIN)


def caller(scope: Mapping[str, Any]) -> Caller:
    """Of a request that Access let through."""
    found: Caller = scope[KEY]
    return found
