"""`orch logs`: what people read of a run, and how it is followed."""

import json
import socket
from pathlib import Path

import pytest

import warm
from orchestrator.agents.transcript import Transcript
from orchestrator.cli.reading import as_json, lines_of
from orchestrator.sim.world import API_TOKEN, Service, World
from orchestrator.sim.wrapper import write_wrapper
from support import FIXTURES, query, until, written_by
from terminal import Terminal

CLAUDE = FIXTURES / "claude"


def read(name: str, *, is_whole: bool = False) -> str:
    transcript = Transcript()
    entries = [*transcript.feed((CLAUDE / f"{name}.jsonl").read_bytes()), *transcript.finish()]
    return "\n".join(line for entry in entries for _, line in lines_of(entry, is_whole=is_whole))


def test_a_log_reads_as_a_conversation_with_what_was_done() -> None:
    lines = read("success").splitlines()
    assert lines[0] == "started: Claude Code CLI 2.1.330, model claude-opus-5-5"
    assert lines[1] == "● I will write the BRD."
    assert lines[2] == f"▸ Write {written_by(CLAUDE / 'success.jsonl')}"
    assert lines[3].startswith("  │ File created successfully")
    assert lines[-1] == "the CLI ended well: 3 turns, 300 tokens read, 60 written, $0.0024, 3 s"


def test_what_is_folded_is_counted_and_can_be_unfolded() -> None:
    text = "\n".join(f"line {number}" for number in range(10))
    block = {"type": "tool_result", "tool_use_id": "x", "content": text}
    record = json.dumps({"type": "user", "message": {"content": [block]}}).encode() + b"\n"
    [entry] = Transcript().feed(record)
    folded = [line for _, line in lines_of(entry)]
    assert folded == [*(f"  │ line {number}" for number in range(6)), "  │ … 4 more lines"]
    assert [line for _, line in lines_of(entry, is_whole=True)][-1] == "  │ line 9"
    assert "  │ # BRD T-1" in read("success", is_whole=True)
    assert "# BRD T-1" not in read("success")


def test_denials_retries_refusals_and_limits_are_told() -> None:
    denied = read("success__permissions_denied")
    assert "✗ denied: Write" in denied
    assert denied.endswith(", 2 denials")
    assert "↻ the model's API: 529 overloaded; again in 0.6 s (1 of 10)" in read("error__529_exhausted")
    assert "✗ the model's API refused: 529 overloaded_error" in read("error__529_exhausted")
    assert "! usage limit five_hour: rejected, until 2026-11-22" in read("error__usage_limit_oauth")


def test_no_agent_forges_a_line_of_ours() -> None:
    forged = "── succeeded\n▸ Bash true\nthe CLI ended well\n✗ denied"
    block = {"type": "text", "text": forged}
    record = json.dumps({"type": "assistant", "message": {"content": [block]}}).encode() + b"\n"
    [entry] = Transcript().feed(record)
    assert all(line.startswith(("● ", "  ")) for _, line in lines_of(entry))


@pytest.mark.parametrize("log", sorted(CLAUDE.glob("*.jsonl")), ids=lambda path: path.stem)
def test_every_recorded_log_is_told_to_people_and_to_programs(log: Path) -> None:
    transcript = Transcript()
    entries = [*transcript.feed(log.read_bytes()), *transcript.finish()]
    for entry in entries:
        assert all("\n" not in line for _, line in lines_of(entry, is_whole=True))
        told = json.loads(as_json(entry))
        assert (told["kind"], told["end"]) == (entry.kind, entry.place.end)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as door:
        return int(door.getsockname()[1])


def test_a_run_is_followed_to_its_end_through_a_kill_and_a_restart_of_the_server(
    world: World, tmp_path: Path
) -> None:
    settings = world.settings(write_wrapper(tmp_path / "slow", "slow:1.5"))
    environ = {**settings, "ORCH_PORT": str(free_port())}
    with Service(world.root, environ, starter=warm.started) as service:
        world.connect(service)
        world.post_recorded(service, "issue__created__rest")
        until(lambda: query(service, "SELECT 1 FROM agent_runs WHERE state = 'running'"), "the analyst works")
        with Terminal("logs", "-f", "ENDURO-1", cwd=world.root, environ=environ) as terminal:
            terminal.shows("▸ ")
            service.kill()
            terminal.shows("The server went away")
            service.start()
            terminal.shows("── succeeded")
            assert terminal.wait() == 0
        shown = terminal.text
        log = Path(query(service, "SELECT output_path FROM agent_runs")[0][0]).read_bytes()
    calls = [one for one in Transcript().feed(log) if one.kind == "call"]
    assert calls
    assert shown.count("▸ ") == len(calls)
    assert shown.count("── run 1: analyst, attempt 1 at analysis") == 1
    assert API_TOKEN not in shown
