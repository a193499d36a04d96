"""No secret in a log line, and no line that a sender can forge."""

import json
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.logs import MASK, line, masker, redactor

SECRETS = ["canary-one", "canary-one-longer", "", 'quoted"\\secret', "тайна", "\U0001f511key"]


def clean(**fields: object) -> dict[str, object]:
    return dict(redactor(SECRETS)(None, "info", dict(fields)))


def test_secrets_are_masked_by_value_wherever_they_stand() -> None:
    seen = clean(a="x canary-one y", b={"c": ["canary-one-longer"]}, d=ValueError("canary-one"), e=("canary-one",))
    assert "canary" not in str(seen)
    assert seen["b"] == {"c": [MASK]}


def test_a_text_of_somebody_elses_is_masked_and_stays_a_text_of_lines() -> None:
    assert masker(SECRETS)("a canary-one-longer\n\tb canary-one\n") == f"a {MASK}\n\tb {MASK}\n"
    assert masker([])("a") == "a"


def test_numbers_and_nothing_stay_what_they_are() -> None:
    assert clean(a=1, b=None, c=True, d=1.5) == {"a": 1, "b": None, "c": True, "d": 1.5}


def written(event: Mapping[str, object]) -> dict[str, object]:
    """What a reader of the log reads; without the level and the moment."""
    text = line(SECRETS)(None, "info", dict(event))
    assert isinstance(text, str)
    assert text.isascii()
    assert text.isprintable()
    found: dict[str, object] = json.loads(text)
    assert found.pop("level") == "info"
    assert str(found.pop("timestamp")).endswith("Z")
    return found


STRANGE = st.text() | st.text(alphabet=st.characters(max_codepoint=0xA0)) | st.sampled_from(SECRETS)
TEXTS = st.lists(STRANGE, max_size=3).map("".join)
VALUES = st.recursive(
    TEXTS | st.integers() | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(["event", "task", "detail"]), VALUES))
def test_a_line_says_what_the_masked_event_says_whatever_is_in_it(event: dict[str, object]) -> None:
    """It looks closer only where something is odd; this looks closer everywhere."""
    assert written(event) == redactor(SECRETS)(None, "info", event)


def test_a_line_tells_of_an_error_without_its_secret() -> None:
    found = written({"event": "failed", "exc_info": ValueError("canary-one")})
    assert MASK in str(found["exception"])
    assert "canary" not in str(found)


@pytest.mark.parametrize("odd", ["\x00", "\b", "\v", "\f", "\r", "\x1b", "\x7f", "\x80", "\x9f"])
def test_no_line_has_a_control_character_even_when_it_is_read(odd: str) -> None:
    assert written({"event": f"a{odd}b"}) == {"event": "a�b"}


def test_control_characters_cannot_forge_a_line() -> None:
    assert "\r" not in str(clean(a="x\r{}\x1b[2J")["a"])
    assert "\x1b" not in str(clean(a="x\r{}\x1b[2J")["a"])
