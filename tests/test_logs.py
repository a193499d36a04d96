"""No secret in a log line, and no line that a sender can forge."""

from orchestrator.logs import MASK, masker, redactor

SECRETS = ["canary-one", "canary-one-longer", ""]


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


def test_control_characters_cannot_forge_a_line() -> None:
    assert "\r" not in str(clean(a="x\r{}\x1b[2J")["a"])
    assert "\x1b" not in str(clean(a="x\r{}\x1b[2J")["a"])
