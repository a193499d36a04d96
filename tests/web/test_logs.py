"""Parts of a log: page by page in both directions, nothing is lost and nothing comes twice."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.agents.transcript import LINE_MAX_BYTES, Message, Transcript, Unreadable
from orchestrator.web import logs


def line(number: int, padding: int = 0) -> bytes:
    content = [{"type": "text", "text": f"{number} " + "x" * padding}]
    return json.dumps({"type": "assistant", "message": {"content": content}}).encode() + b"\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "stdout.jsonl"


def places(entries: object) -> list[int]:
    assert isinstance(entries, list)
    return [entry.place.offset for entry in entries]


def back_to_front(path: Path, records: int) -> list[int]:
    part = logs.last(path, None, records)
    found = places(part.entries)
    while part.has_earlier:
        part = logs.last(path, part.start, records)
        found = places(part.entries) + found
    return found


def front_to_back(path: Path, records: int) -> list[int]:
    part, found = logs.after(path, 0, records), list[int]()
    while True:
        found += places(part.entries)
        following = logs.after(path, part.end, records)
        if following.end == part.end:
            return found
        part = following


@given(st.lists(st.integers(0, 400), max_size=60), st.integers(1, 20), st.booleans())
def test_pages_in_both_directions_hold_every_record_once(
    tmp_path_factory: pytest.TempPathFactory, paddings: list[int], records: int, is_cut: bool
) -> None:
    path = tmp_path_factory.mktemp("log") / "stdout.jsonl"
    data = b"".join(line(number, padding) for number, padding in enumerate(paddings)) + b'{"half' * is_cut
    path.write_bytes(data)
    expected = places(Transcript().feed(data))
    assert back_to_front(path, records) == expected
    assert front_to_back(path, records) == expected


def test_a_page_has_so_many_records_and_says_whether_there_are_more(path: Path) -> None:
    path.write_bytes(b"".join(line(number) for number in range(1000)))
    end = logs.last(path)
    assert [len(end.entries), end.has_earlier, end.has_later] == [logs.RECORDS, True, False]
    begin = logs.after(path, 0)
    assert [len(begin.entries), begin.has_earlier, begin.has_later] == [logs.RECORDS, False, True]
    text = end.entries[-1]
    assert isinstance(text, Message)
    assert text.text.text == "999 "


def test_long_records_make_a_page_of_fewer(path: Path) -> None:
    path.write_bytes(b"".join(line(number, 100_000) for number in range(100)))
    part = logs.last(path)
    assert 10 < len(part.entries) < 40
    assert back_to_front(path, 300) == front_to_back(path, 300)
    assert len(back_to_front(path, 300)) == 100


def test_a_record_that_is_longer_than_any_may_be_stops_no_reader(path: Path) -> None:
    path.write_bytes(line(1) + b"x" * (LINE_MAX_BYTES * 2 + 77) + b"\n" + line(2))
    first, last = places(Transcript().feed(path.read_bytes()))[::2]
    for found in (back_to_front(path, 300), front_to_back(path, 300)):
        assert {first, last} <= set(found)


@pytest.mark.parametrize("offset", [-5, 1, 10**30])
def test_any_place_may_be_asked_for(path: Path, offset: int) -> None:
    path.write_bytes(line(1) + line(2) + line(3))
    assert len(logs.after(path, offset).entries) == {-5: 3, 1: 2}.get(offset, 0)
    assert len(logs.last(path, offset).entries) == {-5: 0, 1: 0}.get(offset, 3)


def test_a_log_that_is_not_there_is_empty(path: Path) -> None:
    assert logs.last(path).entries == logs.after(path, 7).entries == logs.half_line(path, 0) == []


def test_the_half_line_of_a_log_that_is_over_is_told(path: Path) -> None:
    path.write_bytes(line(1) + b'{"type":"assis')
    part = logs.last(path)
    assert not part.has_later
    assert part.end < part.size
    [half] = logs.half_line(path, part.end)
    assert isinstance(half, Unreadable)
    assert half.place.offset == part.end


def test_a_log_that_grows_meanwhile_is_sent_as_it_was(path: Path) -> None:
    path.write_bytes(b"a" * 1_000_000)
    pieces = logs.pieces(path)
    sent = next(pieces)
    with path.open("ab") as file:
        file.write(b"b" * 1_000_000)
    assert sent + b"".join(pieces) == b"a" * 1_000_000
