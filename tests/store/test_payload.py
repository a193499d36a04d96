"""Bodies come back as they were signed, however they are stored."""

import sqlite3
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.store.payload import PLAIN_MAX_BYTES, packed, unpacked

FIXTURES = Path(__file__).parents[1] / "fixtures"


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=3 * PLAIN_MAX_BYTES))
def test_every_body_comes_back_byte_for_byte(text: str) -> None:
    assert unpacked(packed(text.encode())) == text.encode()


@pytest.mark.parametrize("path", sorted(FIXTURES.glob("*/*.body")), ids=lambda path: path.name)
def test_every_recorded_body_survives_the_database(path: Path) -> None:
    body = path.read_bytes()
    with sqlite3.connect(":memory:") as connection:
        stored = connection.execute("SELECT ?", (packed(body),)).fetchone()[0]
    assert unpacked(stored) == body


def test_a_small_body_stays_readable_and_a_large_one_is_plain_zlib() -> None:
    small, large = b'{"a":"\xd1\x82"}', b'{"a":"' + b"x" * PLAIN_MAX_BYTES + b'"}'
    assert packed(small) == '{"a":"т"}'
    stored = packed(large)
    assert isinstance(stored, bytes)
    assert len(stored) < len(large) / 5
    assert zlib.decompress(stored) == large
