"""Where a command's answers come from: the running server, or the database as the last one left it."""

import contextlib
import json
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import typer

from orchestrator.cli import setup
from orchestrator.cli.screen import say
from orchestrator.cli.server import Answer, BadAddress, Gone, Server, checked
from orchestrator.cli.wishes import Wishes
from orchestrator.config import Settings

if TYPE_CHECKING:
    from orchestrator.cli.left import Left

BUSY = 503
TRIES, AGAIN_S = 3, 1.0
"""Of an order that may be sent again."""
FAILED, USAGE, CONFIGURATION, NOT_FOUND = 1, 2, 3, 4
_CODES = {401: CONFIGURATION, 404: NOT_FOUND, 422: USAGE}
_PROBLEM = "application/problem+json"
_NEXT = {
    401: "Set ORCH_TOKEN to a token of that server: its ORCH_API_TOKEN, or a named one.",
    404: "`orch status` and `orch runs` show what there is.",
}


class Answers:
    """Asks the server first, each time. What keeps it from answering ends the command with words and a code."""

    def __init__(self, wishes: Wishes) -> None:
        self._wishes = wishes
        self._is_elsewhere = False
        self._left: Left | None = None
        self.is_left = False
        """The last answer came from the database, since no server runs."""
        self.server = self._found()

    def get(self, path: str, *, of_server: bool = False) -> Any:
        """What was read, as the API shapes it."""
        return _decoded(self.raw(path, of_server=of_server), self.server)

    def raw(self, path: str, *, of_server: bool = False) -> Answer:
        """A good answer to a GET, from server or database. `of_server`: from nobody else; raises Gone."""
        try:
            answer = self.server.ask("GET", path)
            self.is_left = False
        except Gone as gone:
            if of_server:
                raise
            answer = self._opened(gone).ask(path)
            self.is_left = True
        if of_server and answer.status == BUSY:
            raise Gone(detail(answer), is_there=True)
        return _good(answer, self.server)

    def order_once(self, path: str, order: object) -> Any:
        """As `order`, and again when the answer was lost or the server was busy: it is carried out once."""
        key = str(uuid4())
        for _ in range(TRIES - 1):
            try:
                answer = self.server.ask("POST", path, order, key)
                if answer.status != BUSY:
                    return _decoded(_good(answer, self.server), self.server)
            except Gone as gone:
                if not gone.is_lost:
                    break
            time.sleep(AGAIN_S)
        return self.order(path, order, key)

    def order(self, path: str, order: object = None, order_key: str = "") -> Any:
        """Has something changed. Only a server does that."""
        try:
            answer = self.server.ask("POST", path, order, order_key)
        except Gone as gone:
            raise _ended(
                FAILED, f"No orchestrator answers at {self.server.url} ({gone}). {self._what_to_do()}"
            ) from gone
        return _decoded(_good(answer, self.server), self.server)

    def order_or_left(self, path: str) -> "Left | None":
        """As `order`; with no server the open database, for the few changes that are safe without one."""
        try:
            _good(self.server.ask("POST", path), self.server)
        except Gone as gone:
            return self._opened(gone)
        return None

    def close(self) -> None:
        self.server.close()
        if self._left:
            self._left.close()

    def _found(self) -> Server:
        settings = setup.settings()
        self._is_elsewhere = bool(self._wishes.server or settings.server)
        try:
            return of_settings(settings, self._wishes.server)
        except BadAddress as error:
            raise _ended(USAGE, str(error)) from error

    def _opened(self, gone: Gone) -> "Left":
        if self._left is None:
            self._left = self._open(gone)
        return self._left

    def _open(self, gone: Gone) -> "Left":
        nobody = f"No orchestrator answers at {self.server.url} ({gone})."
        if gone.is_there:
            raise _ended(
                FAILED, f"{nobody} It is there, and may be too busy: look at its log, or try again."
            ) from gone
        if self._is_elsewhere:
            raise _ended(FAILED, f"{nobody} {self._what_to_do()}") from gone
        from orchestrator.cli.left import Left, Unreadable  # noqa: PLC0415 - takes longer than all else
        from orchestrator.domain.errors import OrchestratorError  # noqa: PLC0415

        left = Left(*setup.read())
        try:
            left.open()
        except Unreadable as error:
            left.close()
            raise _ended(FAILED, f"{nobody} {error} {self._what_to_do()}") from error
        except OrchestratorError as error:
            left.close()
            raise _ended(FAILED, f"{nobody} {error.message} {error.hint}") from error
        say("No server runs: this is how it was left. `orch serve` starts it.")
        return left

    def _what_to_do(self) -> str:
        if self._is_elsewhere:
            return "Check the address, and that it can be reached from here."
        return "Start it with `orch serve`, or name another one with --server or ORCH_SERVER."


@contextlib.contextmanager
def answers(wishes: Wishes) -> Iterator[Answers]:
    found = Answers(wishes)
    try:
        yield found
    finally:
        found.close()


def of_settings(settings: Settings, named: str | None = None) -> Server:
    """Which server is meant. Raises BadAddress."""
    url = named or settings.server
    return Server(checked(url) if url else _own_address(settings), _token(settings))


def _own_address(settings: Settings) -> str:
    """One that listens everywhere listens here, too."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"


def _token(settings: Settings) -> str:
    tokens = settings.token or settings.api_token
    return tokens[0].get_secret_value() if tokens else ""


def _good(answer: Answer, server: Server) -> Answer:
    if answer.is_good:
        return answer
    code = _CODES.get(answer.status, FAILED)
    if answer.status == 404 and not answer.headers.get("content-type", "").startswith(_PROBLEM):
        raise _ended(
            FAILED, f"{server.url} does not know this question: is it an orchestrator, and of this version?"
        )
    raise _ended(code, f"{detail(answer)} {_NEXT.get(answer.status, '')}".rstrip())


def detail(answer: Answer) -> str:
    """What a refusal says to people."""
    unknown = f"The server answered {answer.status}."
    if 300 <= answer.status < 400:
        where = answer.headers.get("location", "?")
        return f"The server answered {answer.status}: it is somewhere else, at {where}. Name that address."
    try:
        body = json.loads(answer.body)
    except ValueError:
        return f"{unknown} Is it an orchestrator?"
    found = body.get("detail") if isinstance(body, dict) else None
    if isinstance(found, list):
        found = "; ".join(f"{'.'.join(map(str, one['loc'][1:]))}: {one['msg']}" for one in found)
    return str(found or unknown)


def _decoded(answer: Answer, server: Server) -> Any:
    try:
        return answer.decoded()
    except ValueError as error:
        said = f"What answers at {server.url} is no orchestrator; name another one with --server."
        raise _ended(FAILED, said) from error


def _ended(code: int, said: str) -> typer.Exit:
    sys.stdout.flush()
    say(said)
    return typer.Exit(code)
