"""Rows of the database in which every text from outside is hostile, as if nothing had looked at it before.

Pages and answers must not rest on what was checked on the way in: a rule there may change, an old row does not.
"""

import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from string import Formatter
from typing import Any

from sqlalchemy import Connection, insert

from green import GREEN, HEAD, ITEM, PROJECT, PULL, TASK
from hostile_strings import Hostile
from orchestrator.domain.feedback import Feedback
from orchestrator.domain.model import Branch, Cause, Return, Stage, TaskId
from orchestrator.qg.verdict import Failed, Item, Passed, Unknown, Waiting
from orchestrator.store import decisions
from orchestrator.store.payload import packed
from orchestrator.store.schema import agent_runs, approvals, effects, events, tasks
from orchestrator.store.tasks import waiting_text
from orchestrator.words.items import ITEMS
from orchestrator.workflow.decision import Decision

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
STAGES = tuple(Stage)
CODES = tuple(ITEMS)
CODES_OF_A_TASK = 4


@dataclass(frozen=True, slots=True)
class Filled:
    """Keys and numbers of what was written."""

    keys: tuple[str, ...]
    runs: tuple[int, ...]
    events: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Voice:
    """Says the next hostile text. Half characters come only as JSON's escapes: no other place can hold them."""

    escaped: Callable[[], str]

    def __call__(self) -> str:
        return self.escaped().encode("utf-8", "ignore").decode()


STRIDE = 61
"""Shares no divisor with the number of strings, so that each comes to every field in time."""


def one_each(strings: Sequence[Hostile]) -> Iterator[Voice]:
    """A task for each string, which stands in all of its fields."""
    return (Voice(partial(str, one.text)) for one in strings)


def dealt(strings: Sequence[Hostile], tasks: int) -> Iterator[Voice]:
    """Few tasks: each field gets the next string, round and round, and each task begins elsewhere. Going on where
    the last one ended, a string might come to the same fields again and again, and to none that is shown.
    """
    texts = [one.text for one in strings]
    for number in range(tasks):
        begin = number * STRIDE % len(texts)
        yield Voice(partial(next, itertools.cycle([*texts[begin:], *texts[:begin]])))


def fill(connection: Connection, voices: Iterator[Voice], logs: Path) -> Filled:
    logs.mkdir(parents=True, exist_ok=True)
    numbers = [_one(connection, number, voice, logs) for number, voice in enumerate(voices, 1)]
    return Filled(tuple(f"H-{one}" for one in numbers), tuple(numbers), tuple(numbers))


def _one(connection: Connection, number: int, say: Voice, logs: Path) -> int:
    moment = NOW + timedelta(seconds=number)
    stage = STAGES[number % len(STAGES)]
    connection.execute(insert(tasks), _task(number, stage, say, moment))
    connection.execute(insert(agent_runs), _run(number, stage, say, moment, logs))
    connection.execute(insert(events), _event(number, say, moment))
    connection.execute(insert(approvals), _approval(number, say, moment))
    connection.execute(insert(effects), _effect(number, say, moment))
    made = _decision(number, stage, say)
    decisions.record(connection, [made], moment)
    decisions.observe(connection, TaskId(number), made.facts, moment)
    return number


def _task(number: int, stage: Stage, say: Voice, moment: datetime) -> Mapping[str, Any]:
    return {
        "id": number,
        "plane_id": f"w{number}",
        "plane_project_id": "p1",
        "repo": str(TASK.repo),
        "key": f"H-{number}",
        "title": say(),
        "branch": say(),
        "base_branch": say(),
        "brief": say(),
        "stage": stage.value,
        "waiting": waiting_text(_items(number, say)),
        "created_at": moment,
        "updated_at": moment,
        "head_sha": HEAD,
        "agent_running": number % 7 == 0,
    }


def _run(number: int, stage: Stage, say: Voice, moment: datetime, logs: Path) -> Mapping[str, Any]:
    log = logs / f"{number}.jsonl"
    log.write_text("".join(f"{line}\n" for line in _log(say)), encoding="utf-8")
    is_over = number % 7 != 0
    return {
        "id": number,
        "task_id": number,
        "agent": "analyst",
        "stage": stage.value,
        "attempt": 1,
        "state": "ended" if is_over else "running",
        "intended_at": moment,
        "started_at": moment,
        "finished_at": moment + timedelta(minutes=3) if is_over else None,
        "last_activity_at": moment,
        "session_id": f"s{number}",
        "base_sha": HEAD,
        "head_sha": HEAD,
        "outcome": "failed" if is_over else None,
        "reason": say(),
        "detail": say(),
        "denials": json.dumps([say(), say()], ensure_ascii=False),
        "cli_version": say(),
        "model": say(),
        "sandbox": say(),
        "report": say(),
        "verdict": "failed",
        "turns": 3,
        "input_tokens": 1000,
        "output_tokens": 100,
        "cost_usd": 0.5,
        "output_path": str(log),
        "waits_for": None,
    }


def _log(voice: Voice) -> Iterator[str]:
    """Records as the CLI prints them. Half characters reach us as JSON's escapes."""
    say = voice.escaped
    call = {"type": "tool_use", "id": "t1", "name": say(), "input": {"command": say(), say(): say(), "n": [say()]}}
    told = {"type": "tool_result", "tool_use_id": "t1", "is_error": True, "content": say()}
    records: tuple[dict[str, Any], ...] = (
        {"type": "system", "subtype": "init", "model": say(), "tools": [say()], "cwd": say(), "session_id": say()},
        {"type": "system", "subtype": say(), "text": say()},
        {"type": "assistant", "message": {"content": [{"type": "text", "text": say()}]}},
        {"type": "assistant", "message": {"content": [{"type": "thinking", "thinking": say()}]}},
        {"type": "assistant", "message": {"content": [call]}},
        {"type": "user", "message": {"content": [told]}},
        {"type": say(), "x": say()},
        {"type": "result", "subtype": say(), "is_error": True, "result": say(), "num_turns": 1},
    )
    yield from (json.dumps(one) for one in records)
    yield voice().replace("\n", " ")  # no JSON at all


def _event(number: int, say: Voice, moment: datetime) -> Mapping[str, Any]:
    any_text = say.escaped
    inner = {"name": any_text(), "list": [any_text(), {"deep": any_text()}]}
    body = json.dumps({any_text(): any_text(), "data": inner})
    return {
        "id": number,
        "timestamp": moment,
        "source": "gitea" if number % 2 else "plane",
        "event_type": say()[:80],
        "action": say()[:80],
        "payload": packed(body.encode()),
        "processed": number % 3 != 0,
        "delivery_id": say()[:100],
        "body_sha256": f"{number:064x}",
        "event_id": say()[:100] + str(number),
        "task_id": number if number % 5 else None,
        "headers": json.dumps([["X-Gitea-Event", say()], [say(), say()]], ensure_ascii=False),
        "ignored": say() if number % 2 else None,
        "flag": say()[:40],
        "repeats": number % 4,
        "last_repeat_at": moment,
    }


def _approval(number: int, say: Voice, moment: datetime) -> Mapping[str, Any]:
    return {
        "task_id": number,
        "gate": "QG-1",
        "comment_id": f"{say()}{number}",
        "person": say(),
        "digest": say()[:64],
        "approved_at": moment,
        "position": number,
    }


def _effect(number: int, say: Voice, moment: datetime) -> Mapping[str, Any]:
    return {
        "task_id": number,
        "key": f"{say()}{number}",
        "kind": say()[:40],
        "arguments": json.dumps({"text": say()}),
        "created_at": moment,
        "done_at": None,
        "error": say(),
    }


def _items(number: int, say: Voice) -> tuple[Item, ...]:
    """Some of the core's codes, each parameter hostile; and one that nobody knows."""
    first = number * CODES_OF_A_TASK
    codes = [CODES[(first + more) % len(CODES)] for more in range(CODES_OF_A_TASK)]
    known = (Item(code, _params(code, say), (say(), say()), say(), say()) for code in codes)
    return (*known, Item(say(), (("detail", say()),), (say(),), say(), say()))


def _params(code: str, say: Voice) -> tuple[tuple[str, str], ...]:
    said = ITEMS[code]
    texts = (*said.is_so(), *said.todo())
    names = {name for text in texts for _, name, _, _ in Formatter().parse(text) if name}
    return tuple((name, say()) for name in sorted(names))


def _decision(number: int, stage: Stage, say: Voice) -> decisions.Made:
    task = replace(TASK, id=TaskId(number), stage=stage, title=say(), branch=say(), key=f"H-{number}")
    item = replace(ITEM, title=say(), description=say(), state=say(), labels=(say(),))
    pull = replace(PULL, title=say(), head_branch=say(), base_branch=say(), author=say(), url=say())
    facts = replace(GREEN, item=item, pull=pull, branch=Branch(say(), HEAD), changed_paths=(say(), say()))
    some = _items(number, say)
    verdicts = (
        ("QG-0", Passed(some)),
        ("QG-1", Waiting(some, some)),
        ("QG-2", Failed(some, some)),
        ("QG-3", Unknown(some, some)),
    )
    told = Feedback("review", say(), say(), say())
    sent_back = Return(Cause.REVIEW_REJECTED, Stage.DEVELOPMENT, say(), 1, (say(),), (told,))
    decision = Decision(stage, waiting=some, verdicts=verdicts, returns=(sent_back,))
    return decisions.made(decisions.Basis(PROJECT, task, facts), decision)
