"""What an attempt left, for the one that goes on from it: its HOME and checkout, or else an account of them.

Blocking: call it in a thread. What an agent wrote is hostile: nothing here runs it or follows its links.
"""

import json
from collections import Counter, deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from orchestrator.agents import rundir
from orchestrator.agents.claude import plain
from orchestrator.agents.rundir import RunPaths
from orchestrator.domain.errors import Transient

_TAIL_BYTES = 512 * 1024
_SAID_MAX = 3
_CALLS_MAX = 15
_TEXT_MAX_CHARS = 1500
_CALL_MAX_CHARS = 160


def take_over(old: RunPaths, new: RunPaths, session: str) -> bool:
    """Each of the two is moved by one rename: after a kill between them each lies in one of both places, and doing
    it again goes on. False when something is missing, or is not what it was: then nothing was moved, or what was
    is of no use.
    """
    if rundir.is_held(old.lock) or rundir.is_held(old.tether):
        raise Transient("earlier_attempt_alive", "The attempt to go on from has not quite ended.", retry_after_s=1)
    moves = ((old.home, new.home), (old.workspace, new.workspace))
    if not all(_is_folder(_place(*move)) for move in moves) or not _has_transcript(_place(*moves[0]), session):
        return False
    for source, target in moves:
        if not target.exists():
            source.rename(target)
    return True


def _place(source: Path, target: Path) -> Path:
    return target if target.exists() else source


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _has_transcript(home: Path, session: str) -> bool:
    """One file for each session, in a folder named after where it worked; the CLI finds it from anywhere."""
    return any(path.is_file() for path in home.glob(f".claude/projects/*/{session}.jsonl"))


def account(paths: RunPaths) -> str:
    """What its log tells: what it said last, which tools it used, and what it did with them at the end. Bounded;
    empty when it tells nothing. It is the agent's own word, so it is material and no more.
    """
    used: Counter[str] = Counter()
    said: deque[str] = deque(maxlen=_SAID_MAX)
    calls: deque[str] = deque(maxlen=_CALLS_MAX)
    for block in _blocks(paths.log):
        if block.get("type") == "text" and (text := str(block.get("text", "")).strip()):
            said.append(text[:_TEXT_MAX_CHARS])
        elif block.get("type") == "tool_use":
            used[plain(str(block.get("name", "")), 60)] += 1
            calls.append(_call(block))
    if not used and not said:
        return ""
    counts = ", ".join(f"{name} {count}" for name, count in used.most_common(10))
    return "\n\n".join(("Tools: " + counts, "\n".join(calls), *said)).strip()


def _call(block: dict[str, Any]) -> str:
    given = block.get("input")
    shown = json.dumps(given, ensure_ascii=False) if isinstance(given, dict) else ""
    # `plain` keeps the end of a text; of a call the beginning says what it is.
    return f"- {plain(str(block.get('name', '')), 60)} {plain(shown[:_CALL_MAX_CHARS], _CALL_MAX_CHARS)}"


def _blocks(log: Path) -> Iterator[dict[str, Any]]:
    for line in _tail(log).split(b"\n"):
        try:
            record = msgspec.json.decode(line)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            continue
        if isinstance(record, dict) and record.get("type") == "assistant":
            message = record.get("message")
            content = message.get("content") if isinstance(message, dict) else None
            yield from (one for one in content if isinstance(one, dict)) if isinstance(content, list) else ()


def _tail(log: Path) -> bytes:
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _TAIL_BYTES))
            return file.read(_TAIL_BYTES)
    except FileNotFoundError:
        return b""
