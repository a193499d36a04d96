"""`orch logs`: a run's log as people read it, and as it grows."""

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import quote

import typer
from rich.text import Text

from orchestrator.agents.transcript import Transcript
from orchestrator.cli import screen
from orchestrator.cli.answers import FAILED, NOT_FOUND, Answers, answers
from orchestrator.cli.reading import as_json, lines_of
from orchestrator.cli.runs import outcome
from orchestrator.cli.screen import count, money, plain, say
from orchestrator.cli.server import Answer, Gone
from orchestrator.cli.wishes import Wishes
from orchestrator.words.folds import readable

WAIT_S = 5.0
"""How long one question waits for news: the longest time until the end of a silent run is noticed."""
AGAIN_S = 0.5
Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Manner:
    """`is_whole` unfolds what is folded."""

    is_raw: bool
    is_whole: bool
    follows: bool


def run(wishes: Wishes, what: str, manner: Manner) -> int:
    with answers(wishes) as asked:
        log = _Log(asked, _run_of(asked, what), follows=manner.follows)
        try:
            return _shown(log, _sink(wishes, manner))
        except KeyboardInterrupt:  # how a look that follows is meant to end
            return 0


def _run_of(asked: Answers, what: str) -> int:
    """A number is a run's; of a task it is the newest."""
    if what.isascii() and what.isdigit():
        return int(what)
    runs = asked.get(f"/api/v1/tasks/{quote(what, safe='')}")["runs"]
    if not runs:
        say(f"{what} has had no run yet; `orch explain {what}` says what it waits for.")
        raise typer.Exit(NOT_FOUND)
    return int(runs[-1]["id"])


class _Log:
    """One run's log and row. Who follows goes on after a restart of the server, where it was."""

    def __init__(self, asked: Answers, ident: int, *, follows: bool) -> None:
        self.ident = ident
        self.follows = follows
        self._asked = asked
        self._offset = 0
        self._is_of_server = False

    @property
    def is_left(self) -> bool:
        return self._asked.is_left

    def row(self) -> Json:
        return dict(self._patiently(f"/api/v1/runs/{self.ident}").decoded())

    def piece(self, wait_s: float) -> bytes:
        """The next one; empty when there is none yet."""
        path = f"/api/v1/runs/{self.ident}/log?offset={self._offset}&wait_s={wait_s:g}"
        found = self._patiently(path).body
        self._offset += len(found)
        return found

    def _patiently(self, path: str) -> Answer:
        if not (self.follows and self._is_of_server):
            answer = self._asked.raw(path)
            self._is_of_server = not self._asked.is_left
            return answer
        for attempt in range(sys.maxsize):
            try:
                return self._asked.raw(path, of_server=True)
            except Gone as gone:
                if attempt == 0:
                    say(f"The server went away ({gone}); the agent goes on. Asking again; Ctrl-C ends this.")
                time.sleep(AGAIN_S)
        raise AssertionError("nobody waits so long")


def _shown(log: _Log, sink: "Sink") -> int:
    """Asks whether the run is over before it reads: what was written until then is read for certain."""
    row = log.row()
    sink.begin(row)
    while True:
        is_over = row["state"] == "ended"
        while piece := log.piece(WAIT_S if log.follows and not is_over else 0):
            sink.feed(piece)
        if is_over or not log.follows:
            sink.end(row)
            return 0
        if log.is_left:
            say(f"No server runs, so nothing tells when run {log.ident} ends. Start it, then ask again.")
            return FAILED
        if row["state"] == "intended":
            time.sleep(AGAIN_S)
        row = log.row()


class Sink(Protocol):
    """Where a log goes."""

    def begin(self, row: Json) -> None: ...
    def feed(self, piece: bytes) -> None: ...
    def end(self, row: Json) -> None: ...


def _sink(wishes: Wishes, manner: Manner) -> Sink:
    if manner.is_raw:
        return _Raw()
    return _JsonLines() if wishes.as_json else _Readable(wishes, is_whole=manner.is_whole)


class _Raw:
    """Byte for byte; on a terminal what rules it is left out."""

    def __init__(self) -> None:
        self._is_terminal = sys.stdout.isatty()
        self._rest = b""

    def begin(self, row: Json) -> None:
        """A log has no head of ours."""

    def feed(self, piece: bytes) -> None:
        if self._is_terminal:
            whole, end, self._rest = (self._rest + piece).rpartition(b"\n")
            sys.stdout.write("".join(f"{_harmless(line)}\n" for line in whole.split(b"\n")) if end else "")
        else:
            sys.stdout.buffer.write(piece)
        sys.stdout.flush()

    def end(self, row: Json) -> None:
        del row
        if self._rest:
            print(_harmless(self._rest))


def _harmless(line: bytes) -> str:
    return readable(line.decode(errors="replace")).replace("\n", " ").expandtabs(4)


class _JsonLines:
    """One entry on each line, and the run's row as the last."""

    def __init__(self) -> None:
        self._transcript = Transcript()

    def begin(self, row: Json) -> None:
        """The row comes at the end, when it says how the run ended."""

    def feed(self, piece: bytes) -> None:
        for entry in self._transcript.feed(piece):
            print(as_json(entry))
        sys.stdout.flush()

    def end(self, row: Json) -> None:
        for entry in self._transcript.finish():
            print(as_json(entry))
        screen.print_line({"kind": "run", **row})


class _Readable:
    """What a person wants to see, line by line, never wrapped by us."""

    def __init__(self, wishes: Wishes, *, is_whole: bool) -> None:
        self._console = screen.console(wishes)
        self._is_plain = self._console.color_system is None
        self._is_whole = is_whole
        self._transcript = Transcript()

    def begin(self, row: Json) -> None:
        self._print(
            "bold", plain(f"── run {row['id']}: {row['role']}, attempt {row['attempt']} at {row['stage']}")
        )
        if row["state"] == "intended":
            why = f": {row['waits_for']}" if row["waits_for"] else ""
            self._print("yellow", plain(f"It has not started yet{why}."))

    def feed(self, piece: bytes) -> None:
        for entry in self._transcript.feed(piece):
            for style, line in lines_of(entry, is_whole=self._is_whole):
                self._print(style, line)
        sys.stdout.flush()

    def end(self, row: Json) -> None:
        for entry in self._transcript.finish():
            for style, line in lines_of(entry, is_whole=self._is_whole):
                self._print(style, line)
        tokens = f"{count(row['input_tokens'])} tokens read, {count(row['output_tokens'])} written"
        told = f"{row['turns']} turns, {tokens}, {money(row['cost_usd'])}"
        why = ": ".join(part for part in (row["reason"], row["detail"]) if part)
        self._print("bold", plain(f"── {outcome(row)}: {told}{f'; {why}' if why else ''}"))

    def _print(self, style: str, line: str) -> None:
        if self._is_plain:
            print(line)
        else:
            self._console.print(Text(line, style), soft_wrap=True)
