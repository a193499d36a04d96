"""The three kinds of error. Adapters translate what libraries raise into these; nothing else is caught."""


class OrchestratorError(Exception):
    """A fault that we understand. `code` is stable and for machines, `hint` says what to do next."""

    def __init__(self, code: str, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint


class Rejected(OrchestratorError):
    """The caller's fault; asking again without a change gives the same answer. HTTP 4xx."""

    def __init__(self, code: str, message: str, *, status: int = 400, hint: str = "") -> None:
        super().__init__(code, message, hint=hint)
        self.status = status


class Transient(OrchestratorError):
    """May go away by itself: try again after a pause. `retry_after_s` is the other side's wish, if any."""

    def __init__(self, code: str, message: str, *, retry_after_s: float | None = None, hint: str = "") -> None:
        super().__init__(code, message, hint=hint)
        self.retry_after_s = retry_after_s


class Permanent(OrchestratorError):
    """Will not go away by itself: park the task and tell a human."""
