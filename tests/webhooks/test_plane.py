import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.domain.errors import Rejected
from orchestrator.domain.events import CommentChanged, Ignored, Parsed, WorkItemChanged, WorkItemDeleted
from orchestrator.domain.model import ProjectId, UserId, WorkItemId
from orchestrator.webhooks.plane import SUPPORTED, parse

ITEM = WorkItemId("34c40f2e-5963-4499-9e0c-9bcedef103c0")
PROJECT = ProjectId("df602150-b31b-4706-9b31-c91c962460d7")
COMMENT = "85ed6971-0324-48ce-9122-46a78cc8575f"
ALICE = UserId("97297c05-7c93-4464-85af-0019aae70f59")
BOB = UserId("9847aad5-e06f-4950-ae91-5c4eecd89292")


def read(body: Any, event: str = "") -> Parsed:
    return parse({"x-plane-event": event}, json.dumps(body).encode())


def v1(event: str, action: str, **data: Any) -> dict[str, Any]:
    activity = {"field": None, "actor": {"id": ALICE, "display_name": "alice"}}
    return {"event": event, "action": action, "data": data, "activity": activity}


def v2(event: str, **data: Any) -> dict[str, Any]:
    return {"version": "v2", "event": event, "event_id": BOB, "entity_id": ITEM, "data": data}


def test_a_new_work_item_is_new_and_known_by_project_title_and_actor() -> None:
    expected = WorkItemChanged(PROJECT, ITEM, "Import GPX", is_new=True, actor=ALICE)
    body = v1("issue", "created", id=ITEM, project=PROJECT, name="Import GPX")
    assert read(body) == Parsed("issue", "created", expected)


def test_an_updated_work_item_is_not_new() -> None:
    event = read(v1("issue", "updated", id=ITEM, project=PROJECT, name="t")).event
    assert isinstance(event, WorkItemChanged)
    assert not event.is_new


@pytest.mark.parametrize("name", ["workitem.created", "work_item.created"])
def test_other_names_of_a_new_work_item_mean_the_same(name: str) -> None:
    parsed = read({"event": name, "data": {"id": ITEM, "project_id": PROJECT, "name": "t"}})
    assert (parsed.event_type, parsed.action) == ("issue", "created")
    assert isinstance(parsed.event, WorkItemChanged)
    assert parsed.event.is_new


def test_created_by_is_never_taken_for_the_actor_since_callers_may_forge_it() -> None:
    body = v2("workitem.created", id=ITEM, project_id=PROJECT, created_by_id=ALICE, created_by=ALICE)
    event = read(body).event
    assert isinstance(event, WorkItemChanged)
    assert event.actor is None


def test_a_comment_names_its_work_item_and_who_acted() -> None:
    body = v1("issue_comment", "updated", id=COMMENT, issue=ITEM, actor=BOB)
    assert read(body).event == CommentChanged(ITEM, COMMENT, ALICE)


def test_a_comment_of_v2_is_an_object_in_the_work_item() -> None:
    comment = {"id": COMMENT, "actor_id": BOB, "issue_id": ITEM, "comment_stripped": ":approved:"}
    parsed = read(v2("workitem.comment.created", id=ITEM, comment=comment))
    assert parsed == Parsed(
        "issue_comment",
        "created",
        CommentChanged(ITEM, COMMENT, BOB),
        event_id=BOB,
    )


def test_the_specifications_comment_is_a_text_in_the_work_item() -> None:
    parsed = read({"event": "comment.created", "data": {"id": ITEM, "comment": ":approved:"}})
    assert parsed.event == CommentChanged(ITEM, "", None)
    with_id = {"id": COMMENT, "issue": ITEM, "comment": ":approved:"}
    assert read({"event": "comment.created", "data": with_id}).event == CommentChanged(
        ITEM,
        COMMENT,
        None,
    )


def test_a_deleted_work_item_is_found_in_every_format() -> None:
    assert read(v1("issue", "deleted", id=ITEM)).event == WorkItemDeleted(ITEM)
    assert read(v2("workitem.deleted")).event == WorkItemDeleted(ITEM)


def test_an_old_deleted_comment_names_no_work_item_and_is_ignored() -> None:
    event = read(v1("issue_comment", "deleted", id=COMMENT)).event
    assert event == Ignored("unexpected shape: no uuid at data.issue")


def test_an_enum_name_in_the_body_falls_back_to_the_header() -> None:
    body = v2("WebhookScope.ScopeChoices.WORK_ITEM_UPDATED", id=ITEM, project_id=PROJECT, updated_by_id="None")
    parsed = read(body, "workitem.updated")
    assert (parsed.event_type, parsed.action, parsed.event_id) == ("issue", "updated", BOB)
    assert isinstance(parsed.event, WorkItemChanged)
    assert parsed.event.actor is None


@pytest.mark.parametrize("event_id", [None, "", "None"])
def test_a_placeholder_is_no_event_id(event_id: str | None) -> None:
    assert read({**v2("workitem.deleted"), "event_id": event_id}).event_id is None


def test_v1_has_no_event_id_even_if_the_body_says_so() -> None:
    assert read({**v1("issue", "deleted", id=ITEM), "event_id": BOB}).event_id is None


def test_ids_become_lower_case() -> None:
    assert read(v1("issue", "deleted", id=ITEM.upper())).event == WorkItemDeleted(ITEM)


@pytest.mark.parametrize(
    "bad", [None, "", "None", "1", ITEM + "0", ITEM + "\n", "../" + ITEM, ITEM.replace("-", "_")]
)
def test_what_is_no_uuid_is_ignored_with_its_place(bad: str | None) -> None:
    event = read(v1("issue", "created", id=bad, project=PROJECT)).event
    assert event == Ignored("unexpected shape: no uuid at data.id")
    event = read(v1("issue", "created", id=ITEM, project=bad)).event
    assert event == Ignored("unexpected shape: no uuid at data.project")


def test_titles_are_bounded_and_without_control_characters() -> None:
    title = "a\x00b\x1b[31m\r\n\x9b\u202e\u2028" + "x" * 10_000
    event = read(v1("issue", "created", id=ITEM, project=PROJECT, name=title)).event
    assert isinstance(event, WorkItemChanged)
    assert len(event.title) == 500
    assert event.title.startswith("a\ufffdb\ufffd[31m\ufffd\ufffd\ufffd\ufffd\ufffdx")


@pytest.mark.parametrize("event", ["project", "cycle", "module"])
def test_what_the_pipeline_does_not_use_is_ignored_with_a_reason(event: str) -> None:
    parsed = read(v1(event, "created", id=PROJECT))
    assert (parsed.event_type, parsed.action) == (event, "created")
    assert isinstance(parsed.event, Ignored)
    assert "unknown" not in parsed.event.reason


@pytest.mark.parametrize(
    "body", [{}, {"event": None}, v1("intake", "created"), v1("issue", "zapped"), v2("epic.moved")]
)
def test_an_unknown_event_is_ignored_by_name(body: dict[str, Any]) -> None:
    event = read(body).event
    assert isinstance(event, Ignored)
    assert event.reason.startswith("unknown event")


def test_an_unknown_events_name_is_safe_and_bounded() -> None:
    parsed = read({"event": "\x1b" * 10_000, "action": "\x00" * 10_000})
    assert (parsed.event_type, parsed.action) == ("\ufffd" * 100, "\ufffd" * 100)


@pytest.mark.parametrize(
    ("wrong", "path"),
    [
        ({"event": 1}, "$.event"),
        ({"data": []}, "$.data"),
        ({"data": {"id": 7}}, "$.data.id"),
        ({"data": {"project": {"id": PROJECT}}}, "$.data.project"),
        ({"data": {"comment": 1}}, "$.data.comment"),
        ({"activity": "x"}, "$.activity"),
        ({"activity": {"actor": {"id": 10**400}}}, "$.activity.actor.id"),
    ],
)
def test_a_wrong_type_is_ignored_with_its_place(wrong: dict[str, Any], path: str) -> None:
    body = json.dumps({**v1("issue", "created", id=ITEM, project=PROJECT), **wrong}).encode()
    parsed = parse({"x-plane-event": "issue"}, body)
    assert parsed.event_type == "issue"
    assert isinstance(parsed.event, Ignored)
    assert parsed.event.reason.startswith("unexpected shape:")
    assert path in parsed.event.reason


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "malformed_json"),
        (b"{", "malformed_json"),
        (b"{} x", "malformed_json"),
        (b"\xef\xbb\xbf{}", "malformed_json"),
        (b'{"x":"\xff"}', "malformed_json"),
        (b'{"event":"\xff"}', "malformed_json"),
        (b'{"x":"a\x00b"}', "malformed_json"),
        (b'{"x":NaN}', "malformed_json"),
        (b'{"event":NaN}', "malformed_json"),
        (b'{"x":-Infinity}', "malformed_json"),
        (b'{"name":"\\ud800"}', "malformed_json"),
        (b'{"event":1, rubbish', "malformed_json"),
        (b'{"event":1,"x":' + b"[" * 100_000, "malformed_json"),
        (b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "malformed_json"),
        (b'{"data":' * 100_000, "malformed_json"),
        (b"[" * 100_000, "not_an_object"),
        (b"[]", "not_an_object"),
        (b"null", "not_an_object"),
        (b'"text"', "not_an_object"),
        (b"1", "not_an_object"),
    ],
    ids=range(20),
)
def test_what_is_no_json_object_is_rejected(body: bytes, code: str) -> None:
    with pytest.raises(Rejected) as caught:
        parse({}, body)
    assert (caught.value.code, caught.value.status) == (code, 400)
    assert len(caught.value.message) < 300
    assert caught.value.message.isprintable()


def test_strange_but_valid_json_is_read() -> None:
    body = b'{"event":"x","event":"issue","action":"deleted","n":%b,"z":"\\u0000","data":{"id":"%b"}}'
    parsed = parse({}, body % (b"9" * 5000, ITEM.encode()))
    assert parsed.event == WorkItemDeleted(ITEM)


NAMES = st.sampled_from([*SUPPORTED, "issue", "issue_comment", "x"])
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.sampled_from([ITEM, "None"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
FIELDS = [
    "id",
    "name",
    "project",
    "project_id",
    "issue",
    "issue_id",
    "comment",
    "actor_id",
    "updated_by_id",
    "actor",
]
OBJECTS = st.dictionaries(st.sampled_from(FIELDS), VALUES | st.dictionaries(st.sampled_from(FIELDS), VALUES))


@settings(deadline=None)
@given(body=st.binary(), event=st.text())
def test_bytes_are_parsed_or_rejected(body: bytes, event: str) -> None:
    with suppress(Rejected):
        assert isinstance(parse({"x-plane-event": event}, body), Parsed)


@settings(deadline=None)
@given(
    event=NAMES | VALUES,
    action=st.sampled_from(["created", "updated", "deleted"]) | VALUES,
    version=st.sampled_from(["v2", None]) | VALUES,
    data=OBJECTS | VALUES,
    activity=OBJECTS | VALUES,
)
def test_any_object_is_parsed(event: Any, action: Any, version: Any, data: Any, activity: Any) -> None:
    body = {"event": event, "action": action, "version": version, "data": data, "activity": activity}
    parsed = parse({}, json.dumps(body, ensure_ascii=False).encode("utf-8", "replace"))
    assert isinstance(parsed, Parsed)
