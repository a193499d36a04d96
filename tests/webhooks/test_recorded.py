"""Every recorded or exact-shape delivery: it verifies, it means what it should, and one changed byte spoils it."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from orchestrator.domain.events import Ignored, Parsed
from orchestrator.webhooks import gitea, plane
from orchestrator.webhooks.signatures import gitea_signature_ok, plane_signature_ok

FIXTURES = Path(__file__).parents[1] / "fixtures"


class Recorded(NamedTuple):
    headers: dict[str, str]
    body: bytes
    secrets: list[bytes]
    signature: bytes
    signature_ok: Callable[[bytes, bytes | None, Sequence[bytes]], bool]
    parse: Callable[[Mapping[str, str], bytes], Parsed]
    becomes: dict[str, str]


def load(system: str, name: str) -> Recorded:
    meta = json.loads((FIXTURES / system / f"{name}.json").read_text(encoding="utf-8"))
    headers = {key.lower(): value for key, value in meta["headers"].items()}
    module, ok = (plane, plane_signature_ok) if system == "plane" else (gitea, gitea_signature_ok)
    return Recorded(
        headers=headers,
        body=(FIXTURES / system / f"{name}.body").read_bytes(),
        secrets=[meta["secret"].encode()],
        signature=headers[f"x-{system}-signature"].encode(),
        signature_ok=ok,
        parse=module.parse,
        becomes={key: route.becomes.__name__ for key, route in module.SUPPORTED.items()},
    )


NAMES = [(body.parent.name, body.stem) for body in sorted(FIXTURES.glob("[pg]*/*.body"))]
each = pytest.mark.parametrize(("system", "name"), NAMES, ids=["-".join(pair) for pair in NAMES])
IGNORED = {
    ("gitea", "push_test_delivery"),
    ("gitea", "issue_comment_created"),
    ("plane", "project__created"),
    ("plane", "project__deleted"),
}


def test_the_recordings_are_here() -> None:
    assert len([name for system, name in NAMES if system == "plane"]) == 35
    assert len([name for system, name in NAMES if system == "gitea"]) == 31


@each
def test_it_verifies_with_its_own_secret_only(system: str, name: str) -> None:
    it = load(system, name)
    assert it.signature_ok(it.body, it.signature, it.secrets)
    assert it.signature_ok(it.body, it.signature, [b"older", *it.secrets])
    assert not it.signature_ok(it.body, it.signature, [it.secrets[0] + b"x"])


@each
def test_one_changed_byte_spoils_it(system: str, name: str) -> None:
    it = load(system, name)
    places = {0, len(it.body) - 1, *range(0, len(it.body), max(1, len(it.body) // 40))}
    for place in places:
        spoiled = bytearray(it.body)
        spoiled[place] ^= 1
        assert not it.signature_ok(bytes(spoiled), it.signature, it.secrets)
    for length in (len(it.body) - 1, 0):
        assert not it.signature_ok(it.body[:length], it.signature, it.secrets)
    assert not it.signature_ok(it.body + b"\n", it.signature, it.secrets)


@each
def test_it_is_understood_as_declared(system: str, name: str) -> None:
    it = load(system, name)
    parsed = it.parse(it.headers, it.body)
    if (system, name) in IGNORED:
        assert isinstance(parsed.event, Ignored)
        assert "unexpected" not in parsed.event.reason
        assert "unknown" not in parsed.event.reason
        return
    names = (parsed.event_type, f"{parsed.event_type}/{parsed.action}")
    assert type(parsed.event).__name__ in [it.becomes.get(known) for known in names]
    assert not isinstance(parsed.event, Ignored)


@each
def test_it_is_understood_without_what_we_do_not_need(system: str, name: str) -> None:
    it = load(system, name)
    more = {**json.loads(it.body), "added_in_a_later_version": {"x": [1, None, "😀"]}}
    without = it.parse(it.headers, it.body)
    assert it.parse(it.headers, json.dumps(more).encode()) == without
    assert it.parse(it.headers, json.dumps(more, ensure_ascii=False).encode()) == without
