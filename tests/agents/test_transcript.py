"""A run's log as entries for people: every recording, however it is cut, and whatever else may stand in a log."""

import json
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.agents.transcript import (
    LINE_MAX_BYTES,
    PART_MAX_CHARS,
    TEXT_MAX_CHARS,
    ApiFault,
    Denial,
    End,
    Entry,
    Limit,
    Message,
    Note,
    Retry,
    Start,
    Thinking,
    Told,
    ToolCall,
    ToolResult,
    Transcript,
    Unreadable,
)
from orchestrator.words.folds import Folded
from support import written_by

RECORDINGS = sorted((Path(__file__).parents[1] / "fixtures" / "claude").glob("*.jsonl"))


def read(data: bytes, piece: int = 1 << 20, **given: Any) -> list[Entry]:
    transcript = Transcript(**given)
    found = [
        entry for start in range(0, len(data), piece) for entry in transcript.feed(data[start : start + piece])
    ]
    return found + transcript.finish()


def one(record: object) -> Entry:
    [entry] = read(json.dumps(record).encode() + b"\n")
    return entry


def said(*blocks: dict[str, Any], kind: str = "assistant", **more: Any) -> dict[str, Any]:
    return {"type": kind, "message": {"content": list(blocks)}, **more}


def texts(value: Any) -> Iterator[str]:
    match value:
        case str():
            yield value
        case dict():
            for key, inner in value.items():
                yield from texts(key)
                yield from texts(inner)
        case list() | tuple():
            for inner in value:
                yield from texts(inner)
        case _:
            return


# --- recordings


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda path: path.stem)
def test_each_record_of_each_recording_is_told_and_none_is_unreadable(recording: Path) -> None:
    data = recording.read_bytes()
    entries = read(data)
    assert not [entry for entry in entries if isinstance(entry, Unreadable)]
    ends = [0]
    for line in data.splitlines(keepends=True):
        ends.append(ends[-1] + len(line))
    assert {entry.place.offset for entry in entries} == set(ends[:-1])
    assert {entry.place.end for entry in entries} == set(ends[1:])


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda path: path.stem)
def test_a_recording_says_the_same_however_it_is_cut(recording: Path) -> None:
    data = recording.read_bytes()
    whole = read(data)
    assert read(data, piece=997) == whole
    if len(data) < 30_000:
        assert read(data, piece=1) == whole


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda path: path.stem)
def test_a_reader_goes_on_after_any_record(recording: Path) -> None:
    data = recording.read_bytes()
    whole = read(data)
    for end in sorted({entry.place.end for entry in whole}):
        later = read(data[end:], offset=end)
        assert [entry.place for entry in later] == [entry.place for entry in whole if entry.place.offset >= end]


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda path: path.stem)
def test_a_reader_who_comes_in_the_middle_of_a_line_begins_with_the_next_one(recording: Path) -> None:
    data = recording.read_bytes()
    whole = read(data)
    for offset in range(1, len(data), 4001):
        later = read(data[offset:], offset=offset, is_within=True)
        assert [entry.place for entry in later] == [entry.place for entry in whole if entry.place.offset >= offset]


def kinds(name: str) -> dict[str, int]:
    [recording] = [path for path in RECORDINGS if path.stem == name]
    return dict(Counter(entry.kind for entry in read(recording.read_bytes())))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("success", {"start": 1, "message": 2, "call": 2, "result": 2, "end": 1}),
        ("success__permissions_denied", {"start": 1, "message": 2, "call": 2, "denial": 2, "result": 2, "end": 1}),
        ("error__400", {"start": 1, "fault": 1, "end": 1}),
        ("error__usage_limit_oauth", {"start": 1, "limit": 1, "fault": 1, "end": 1}),
        ("error__stream_dropped", {"start": 1, "retry": 10, "message": 1, "end": 1}),
        ("error__bad_flag", {}),
    ],
)
def test_a_recording_has_these_entries(name: str, expected: dict[str, int]) -> None:
    assert kinds(name) == expected


def test_what_a_recording_says_is_kept() -> None:
    [recording] = [path for path in RECORDINGS if path.stem == "success"]
    start, message, write, wrote, bash, *_, end = read(recording.read_bytes())
    assert isinstance(start, Start)
    assert (start.model, start.cli_version) == ("claude-opus-5-5", "2.1.330")
    assert isinstance(message, Message)
    assert message.text == Folded("I will write the BRD.")
    assert message.place.at == datetime(2026, 11, 22, 10, 22, 19, 342000, tzinfo=UTC)
    assert isinstance(write, ToolCall)
    assert (write.name, write.summary) == ("Write", written_by(recording))
    assert dict(write.fields)["content"] == Folded("# BRD T-1\n\nGoal: prove it.")
    assert isinstance(wrote, ToolResult)
    assert (wrote.name, wrote.is_error) == ("Write", False)
    assert isinstance(bash, ToolCall)
    assert bash.summary.startswith("git add -A")
    assert isinstance(end, End)
    assert (end.is_error, end.reason, end.turns) == (False, "completed", 3)
    assert (end.input_tokens, end.output_tokens) == (300, 60)
    assert end.cost_usd == pytest.approx(0.0024)


def test_a_denial_and_a_used_up_window_say_what_and_until_when() -> None:
    [denied] = [path for path in RECORDINGS if path.stem == "success__permissions_denied"]
    denials = [entry for entry in read(denied.read_bytes()) if isinstance(entry, Denial)]
    assert [entry.name for entry in denials] == ["Write", "Bash"]
    [limited] = [path for path in RECORDINGS if path.stem == "error__usage_limit_oauth"]
    [limit] = [entry for entry in read(limited.read_bytes()) if isinstance(entry, Limit)]
    assert (limit.status, limit.window) == ("rejected", "five_hour")
    assert limit.resets_at == datetime.fromtimestamp(1795347811, UTC)


def test_a_retry_and_a_fault_of_the_api_say_what_was_answered() -> None:
    [recording] = [path for path in RECORDINGS if path.stem == "error__529_exhausted"]
    entries = read(recording.read_bytes())
    retry = next(entry for entry in entries if isinstance(entry, Retry))
    assert (retry.attempt, retry.attempts, retry.status) == (1, 10, 529)
    assert 0 < retry.delay_s < 5
    [fault] = [entry for entry in entries if isinstance(entry, ApiFault)]
    assert (fault.status, fault.code) == (529, "overloaded_error")


# --- what no recording has


def test_thinking_and_the_words_of_the_cli_are_entries() -> None:
    [entry] = read(json.dumps(said({"type": "thinking", "thinking": "hm"})).encode())
    assert isinstance(entry, Thinking)
    assert entry.text == Folded("hm")
    assert isinstance(one(said({"type": "redacted_thinking", "data": "x"})), Thinking)
    told = one(said({"type": "text", "text": "go on"}, kind="user"))
    assert isinstance(told, Told)


def test_a_record_with_several_blocks_gives_an_entry_each_at_one_place() -> None:
    record = said({"type": "text", "text": "a"}, {"type": "tool_use", "id": "1", "name": "Read", "input": {}})
    entries = read(json.dumps(record).encode() + b"\n")
    assert [entry.kind for entry in entries] == ["message", "call"]
    assert len({entry.place for entry in entries}) == 1


def test_a_result_of_blocks_is_their_text() -> None:
    blocks = [{"type": "text", "text": "one"}, {"type": "image", "source": {}}, {"type": "text", "text": "two"}]
    entry = one(said({"type": "tool_result", "tool_use_id": "1", "content": blocks}, kind="user"))
    assert isinstance(entry, ToolResult)
    assert entry.text == Folded("one\n[image]\ntwo")


@pytest.mark.parametrize(
    ("block", "field", "limit"),
    [
        ({"type": "text", "text": "x" * 50_000}, "text", TEXT_MAX_CHARS),
        ({"type": "tool_result", "content": "x" * 50_000}, "text", PART_MAX_CHARS),
    ],
)
def test_long_text_is_folded(block: dict[str, Any], field: str, limit: int) -> None:
    entry = one(said(block, kind="user"))
    assert getattr(entry, field) == Folded("x" * limit, 50_000 - limit)


def test_a_tool_with_endless_input_stays_small() -> None:
    fields = {f"field{number}": "x" * 50_000 for number in range(1000)}
    entry = one(said({"type": "tool_use", "id": "1", "name": "N" * 5000, "input": fields}))
    assert sum(len(text) for text in texts(asdict(entry))) < 60_000


@pytest.mark.parametrize(
    "line",
    [
        b"no json",
        b"[1, 2]",
        b'"text"',
        b"{",
        b"\xff\xfe\x00",
        b"[" * 100_000,
        b'{"type":"assistant","message":{"content":[{"type":"text","text":"cut he',
        b"7" * 5000,
    ],
)
def test_a_line_that_is_no_record_is_told_and_hurts_nobody(line: bytes) -> None:
    good = json.dumps(said({"type": "text", "text": "after"})).encode()
    unreadable, after = read(line + b"\n" + good + b"\n")
    assert isinstance(unreadable, Unreadable)
    assert unreadable.size == len(line)
    assert isinstance(after, Message)


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"type": 7},
        {"type": "assistant"},
        {"type": "assistant", "message": []},
        {"type": "assistant", "message": {"content": [None, 7, {"type": "server_tool_use"}]}},
        {"type": "assistant", "is_api_error_message": True},
        {"type": "user", "message": {"content": [{"type": "tool_result", "content": {"a": 1}}]}},
        {"type": "system", "subtype": "init", "tools": {"a": 1}, "model": 5},
        {"type": "system", "subtype": "api_retry", "attempt": "x", "retry_delay_ms": 1e400, "error_status": True},
        {"type": "rate_limit_event", "rate_limit_info": {"resetsAt": 1e300}},
        {"type": "rate_limit_event", "rate_limit_info": []},
        {"type": "result", "errors": [1, None], "num_turns": -3, "modelUsage": [], "total_cost_usd": None},
        {"type": "result", "num_turns": 10**400, "modelUsage": {"m": {"inputTokens": "many"}}},
        {"type": "newer_than_us", "subtype": "surprise"},
        {"type": "assistant", "timestamp": "0001-01-01T00:00:00+14:00"},
        {"type": "assistant", "timestamp": "never"},
    ],
)
def test_a_record_of_another_shape_is_told_somehow(record: dict[str, Any]) -> None:
    assert read(json.dumps(record).encode() + b"\n")


def test_a_kind_that_we_do_not_know_is_shown_as_it_is() -> None:
    entry = one({"type": "newer_than_us", "subtype": "surprise", "what": "news"})
    assert isinstance(entry, Note)
    assert entry.name == "newer_than_us/surprise"
    assert '"news"' in entry.text.text


def test_a_line_without_an_end_is_let_go_and_the_next_one_is_read() -> None:
    transcript, sent, piece = Transcript(), 0, b"x" * (1 << 20)
    while sent <= 3 * LINE_MAX_BYTES:
        assert transcript.feed(piece) == []
        sent += len(piece)
        assert len(transcript._rest) <= LINE_MAX_BYTES
    good = json.dumps(said({"type": "text", "text": "after"})).encode() + b"\n"
    endless, after = transcript.feed(b"\n" + good)
    assert isinstance(endless, Unreadable)
    assert endless.size == sent
    assert after.place.offset == sent + 1
    assert after.place.end == sent + 1 + len(good)


def test_the_half_line_of_a_killed_process_waits_and_is_told_at_the_end() -> None:
    transcript = Transcript()
    assert transcript.feed(b'{"type":"assi') == []
    assert transcript.offset == 0  # who goes on from here loses nothing
    [half] = transcript.finish()
    assert isinstance(half, Unreadable)


def test_half_characters_and_broken_utf8_are_read_patiently() -> None:
    line = b'{"type":"assistant","message":{"content":[{"type":"text","text":"a\\ud83d b \xff c"}]}}\n'
    [entry] = read(line)
    assert isinstance(entry, Message)
    assert entry.text.text == "a b \ufffd c"
    json.dumps(asdict(entry), default=str).encode()


SHAPE = {"content", "text", "tool_use", "tool_result", "input", "name", "id", "thinking"}
SHAPE |= {"rate_limit_info", "modelUsage", "command", "file_path"}
HOSTILE = "\x1b[31m\x00\x07<script>\u202e\ud800\x9b1m\r\n</script>\u2066"


def test_hostile_text_is_harmless_in_every_field() -> None:
    records = [json.loads(line) for path in RECORDINGS for line in path.read_bytes().splitlines()]

    def spoiled(value: Any) -> Any:
        match value:
            case str():
                return value if value in KEPT else value + HOSTILE
            case dict():
                return {key if key in KEPT else key + HOSTILE: spoiled(inner) for key, inner in value.items()}
            case list():
                return [spoiled(inner) for inner in value]
            case _:
                return value

    kept = {key for record in records for key in record} | {record.get("subtype") for record in records}
    KEPT = kept | {record["type"] for record in records} | SHAPE  # noqa: N806 - as if it stood outside
    data = b"".join(json.dumps(spoiled(record)).encode() + b"\n" for record in records)
    seen = [text for entry in read(data) for text in texts(asdict(entry))]
    assert len(seen) > 1000
    raw = {char for text in seen for char in text if char not in "\n\t" and unicodedata.category(char)[0] == "C"}
    assert raw == set()


@given(st.binary(max_size=400), st.integers(1, 50))
def test_any_bytes_are_read_however_they_are_cut(data: bytes, piece: int) -> None:
    assert read(data, piece) == read(data)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(sorted(SHAPE)), inner, max_size=3)
        ),
        max_leaves=12,
    ),
    st.sampled_from(["assistant", "user", "result", "system", "rate_limit_event", "other"]),
)
def test_any_record_is_told(value: Any, kind: str) -> None:
    assert read(json.dumps({"type": kind, "message": value, "rate_limit_info": value}).encode() + b"\n")
