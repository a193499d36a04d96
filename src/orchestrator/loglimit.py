"""Lines that would come again and again: one a minute for each key, with how many were left out."""

from dataclasses import dataclass, field

EVERY_S = 60.0
MAX_KEYS = 1000


@dataclass(slots=True)
class LogLimit:
    """`now_s` is a time that never jumps."""

    every_s: float = EVERY_S
    _next: dict[str, tuple[float, int]] = field(default_factory=dict)

    def unsaid(self, key: str, now_s: float) -> int | None:
        """None: say nothing now. Else say it, and that so many like it were not said since the last time."""
        until, unsaid = self._next.get(key, (now_s, 0))
        if now_s < until:
            self._next[key] = (until, unsaid + 1)
            return None
        if len(self._next) >= MAX_KEYS:
            self._next.clear()
        self._next[key] = (now_s + self.every_s, 0)
        return unsaid
