"""A session is a signed cookie: nothing is stored of it but that it was ended."""

import hashlib
import hmac
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from itsdangerous import BadData, URLSafeSerializer

from orchestrator.ports import Clock

MAX_COOKIE_CHARS: Final = 2000


class By(StrEnum):
    """By what somebody signed in; the session ends with it."""

    PERSON = "person"
    TOKEN = "token"  # noqa: S105 - a word, no secret
    SETTING = "setting"


@dataclass(frozen=True, slots=True)
class Session:
    """`of` is a login, a token's number, or the mark of the setting's token."""

    id: str
    by: By
    of: str
    until: datetime


class Sessions:
    """`keys` are asked for when they are needed first; the first signs, all of them verify."""

    def __init__(self, keys: Callable[[], Sequence[str]], lifetime: timedelta, clock: Clock) -> None:
        self._keys_of = keys
        self._keys: list[bytes] = []
        self._lifetime = lifetime
        self._clock = clock

    @property
    def lifetime_s(self) -> int:
        return int(self._lifetime.total_seconds())

    def prepare(self) -> None:
        """Asks for the keys now. Raises Permanent when there are none to be had."""
        self._all()

    def begin(self, by: By, of: str) -> Session:
        """A new one, with an id that nobody had: what was known before the sign-in opens nothing after it."""
        return Session(secrets.token_hex(16), by, of, self._clock.now() + self._lifetime)

    def sealed(self, session: Session) -> str:
        """The cookie's value."""
        said = {"id": session.id, "by": session.by, "of": session.of, "until": int(session.until.timestamp())}
        return self.seal("session", said)

    def opened(self, sealed: str) -> Session | None:
        """None for one that was not made here, was changed, or is over."""
        said = self.unseal("session", sealed)
        if not isinstance(said, dict):
            return None
        try:
            until = datetime.fromtimestamp(said["until"], UTC)
            found = Session(str(said["id"]), By(said["by"]), str(said["of"]), until)
        except (KeyError, TypeError, ValueError, OverflowError, OSError):
            return None
        return found if found.until > self._clock.now() else None

    def csrf(self, of: str) -> str:
        """What a form of this session carries: a page that may not read ours cannot know it."""
        return self.derived("csrf", of)

    def is_csrf(self, of: str, given: str) -> bool:
        """Bytes are compared, in a time that tells nothing. Any key that is in force may have made it."""
        matches = [hmac.compare_digest(given.encode(), _derived(key, "csrf", of).encode()) for key in self._all()]
        return any(matches)

    def derived(self, purpose: str, of: str) -> str:
        """43 characters that only we can make."""
        return _derived(self._all()[0], purpose, of)

    def seal(self, purpose: str, said: Any) -> str:
        return str(self._serializer(purpose).dumps(said))

    def unseal(self, purpose: str, sealed: str) -> Any:
        if not sealed or len(sealed) > MAX_COOKIE_CHARS:
            return None
        try:
            return self._serializer(purpose).loads(sealed)
        except BadData:
            return None

    def _serializer(self, purpose: str) -> URLSafeSerializer:
        # The last key of the list is the one that signs.
        return URLSafeSerializer(
            self._all()[::-1],
            salt=f"orchestrator.{purpose}",
            signer_kwargs={"digest_method": hashlib.sha256, "key_derivation": "hmac"},
        )

    def _all(self) -> list[bytes]:
        self._keys = self._keys or [key.encode() for key in self._keys_of()]
        return self._keys


def _derived(key: bytes, purpose: str, of: str) -> str:
    made = hmac.new(key, f"orchestrator.{purpose}\0{of}".encode(), hashlib.sha256).digest()
    return urlsafe_b64encode(made).rstrip(b"=").decode()
