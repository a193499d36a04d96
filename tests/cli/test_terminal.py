"""What people see on a terminal: tables, colours, and a status that draws itself anew."""

import json
import re
from pathlib import Path

import httpx
import pytest

import warm
from left import KEY, leave, settings
from orchestrator.sim.world import Service
from terminal import Starter, Terminal, executed, forked
from terminal_orders import HOSTILE, ruling

EVIL = "".join(one for one in HOSTILE if len(one) < 100 and one.isprintable() is False and "\ud800" not in one)
_MOVES = re.compile(r"\x1b\[(?:[0-9;]*[ABJKHm]|\?25[lh])|\r")
"""What a picture that is drawn anew needs of a terminal."""


def shown(folder: Path, *arguments: str, starter: Starter = forked, **environ: str) -> str:
    whole = {**settings(folder), **environ}
    with Terminal(*arguments, cwd=folder, environ=whole, starter=starter) as terminal:
        assert terminal.wait() == 0, terminal.text
    return terminal.text


def test_a_terminal_gets_tables_and_colours_and_no_order_of_others(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(EVIL)
    leave(tmp_path, title=EVIL, log=log)
    for command in (("status",), ("task", KEY), ("logs", KEY, "--full")):
        said = shown(tmp_path, *command)
        assert "\x1b[" in said
        assert ruling(said) == [], said
    assert ruling(shown(tmp_path, "logs", KEY, "--raw")) == []


@pytest.mark.parametrize(("argument", "environ"), [("--no-color", {}), ("--limit=10", {"NO_COLOR": "1"})])
def test_who_wants_no_colours_gets_none(tmp_path: Path, argument: str, environ: dict[str, str]) -> None:
    leave(tmp_path)
    said = shown(tmp_path, "status", argument, **environ)
    assert "Needs you (1)" in said
    assert KEY in said
    assert "\x1b" not in said


def test_a_terminal_that_knows_ascii_alone_gets_question_marks(tmp_path: Path) -> None:
    leave(tmp_path, title="Имя")
    ascii_alone = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    assert "???" in shown(tmp_path, "task", KEY, starter=executed, **ascii_alone)


def test_json_is_asked_for_on_a_terminal_too(tmp_path: Path) -> None:
    leave(tmp_path)
    said = shown(tmp_path, "status", "--json")
    body = json.loads(said[said.index("{") :])
    assert body["active_tasks"][0]["key"] == KEY


def test_a_watched_status_is_drawn_anew_on_each_change_and_ends_well(tmp_path: Path) -> None:
    arguments = ("--allow-unsigned-loopback",)
    service = Service(tmp_path, {"ORCH_PORT": "0"}, arguments=arguments, starter=warm.started)
    with service, Terminal("status", "-w", "--server", service.url, cwd=tmp_path, environ={}) as terminal:
        terminal.shows("No task is open")
        httpx.post(f"{service.url}/api/v1/pause").raise_for_status()
        terminal.shows("Everything is paused by an operator")
        service.kill()
        terminal.shows("No answer")
        assert terminal.interrupt() == 0
    assert "Traceback" not in terminal.text
    assert "Aborted" not in terminal.text
    assert ruling(_MOVES.sub("", terminal.text)) == []
