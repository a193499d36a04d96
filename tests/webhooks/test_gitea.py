import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.domain.errors import Rejected
from orchestrator.domain.events import BranchMoved, CommitChecked, Event, Ignored, Parsed, PullRequestChanged
from orchestrator.domain.model import Sha
from orchestrator.webhooks.gitea import SUPPORTED, parse

HEAD = "7c4e2a9f5b8d1c3e6f0a2b4d8c6e9f1a3b5d7c0e"
OTHER = "1f6b2f0c9f1c4f0e8a5d3b7c2e9a4d6f8b0c1d2e"
ZEROS = "0" * 40
REPO = "acme/enduro-trails"
BRANCH = "feature/ENDURO-17-gpx-import"
BASE: dict[str, Any] = {"repository": {"full_name": REPO}, "sender": {"login": "dev-agent"}}
PULL: dict[str, Any] = {**BASE, "number": 7, "pull_request": {"head": {"ref": BRANCH, "sha": HEAD}}}
PUSH: dict[str, Any] = {**BASE, "ref": f"refs/heads/{BRANCH}", "before": OTHER, "after": HEAD}


def read(event_type: str, body: dict[str, Any]) -> Parsed:
    return parse({"x-gitea-event-type": event_type}, json.dumps(body).encode())


def reason(event: Event) -> str:
    assert isinstance(event, Ignored)
    return event.reason


def test_a_push_moves_its_branch() -> None:
    assert read("push", PUSH) == Parsed("push", "", BranchMoved(REPO, BRANCH, Sha(HEAD), "dev-agent"))


def test_a_sha256_repository_is_understood() -> None:
    event = read("push", {**PUSH, "after": HEAD + "0" * 24}).event
    assert event == BranchMoved(REPO, BRANCH, Sha(HEAD + "0" * 24), "dev-agent")


def test_the_test_button_is_ignored() -> None:
    assert reason(read("push", {**PUSH, "before": HEAD}).event).startswith("test delivery")


def test_tags_are_ignored() -> None:
    assert "branch" in reason(read("push", {**PUSH, "ref": "refs/tags/v1"}).event)
    assert "branch" in reason(read("create", {**BASE, "ref": "v1", "ref_type": "tag", "sha": HEAD}).event)
    assert "branch" in reason(read("delete", {**BASE, "ref": "v1", "ref_type": "tag"}).event)


def test_a_push_of_zeros_and_a_deletion_leave_no_head() -> None:
    gone = BranchMoved(REPO, BRANCH, None, "dev-agent")
    assert read("push", {**PUSH, "after": ZEROS}).event == gone
    assert read("delete", {**BASE, "ref": BRANCH, "ref_type": "branch"}).event == gone


def test_a_created_branch_tells_its_head() -> None:
    body = {**BASE, "ref": BRANCH, "ref_type": "branch", "sha": HEAD}
    assert read("create", body).event == BranchMoved(REPO, BRANCH, Sha(HEAD), "dev-agent")


@pytest.mark.parametrize("event_type", [name for name in SUPPORTED if name.startswith("pull_request")])
def test_everything_about_a_pull_request_is_a_change_of_it(event_type: str) -> None:
    event = read(event_type, {**PULL, "is_pull": True, "issue": {"number": 7}}).event
    assert event == PullRequestChanged(REPO, 7, BRANCH, Sha(HEAD), "dev-agent")


def test_a_comment_from_an_older_server_tells_no_branch() -> None:
    event = read("pull_request_comment", {**BASE, "is_pull": True, "issue": {"number": 7}}).event
    assert event == PullRequestChanged(REPO, 7, "", None, "dev-agent")


def test_a_comment_on_an_issue_is_ignored() -> None:
    body = {**BASE, "is_pull": False, "issue": {"number": 7}}
    assert "issue" in reason(read("issue_comment", body).event)
    assert "issue" in reason(read("pull_request_comment", body).event)


@pytest.mark.parametrize(
    ("event", "means"),
    [
        ("pull_request_approved", "pull_request_review_approved"),
        ("pull_request_rejected", "pull_request_review_rejected"),
        ("pull_request_comment", "pull_request_review_comment"),
        ("pull_request", "pull_request"),
    ],
)
@pytest.mark.parametrize("header", ["x-gitea-event", "x-forgejo-event"])
def test_a_sender_that_names_only_the_event_is_understood(event: str, means: str, header: str) -> None:
    # The trap: as a type, pull_request_comment is a comment, whose number stands in `issue`.
    parsed = parse({header: event}, json.dumps(PULL).encode())
    assert parsed.event_type == means
    assert isinstance(parsed.event, PullRequestChanged)


def test_a_conversation_comment_is_understood_from_the_event_alone() -> None:
    body = {**PULL, "is_pull": True, "issue": {"number": 7}}
    parsed = parse({"x-gitea-event": "issue_comment"}, json.dumps(body).encode())
    assert isinstance(parsed.event, PullRequestChanged)


def test_the_type_wins_over_the_event_and_gitea_over_forgejo() -> None:
    headers = {"x-gitea-event": "pull_request", "x-gitea-event-type": "push", "x-forgejo-event-type": "status"}
    assert parse(headers, json.dumps(PUSH).encode()).event_type == "push"
    assert parse({"x-forgejo-event-type": "push"}, json.dumps(PUSH).encode()).event_type == "push"
    assert parse({"x-gitea-event-type": "package", "x-gitea-event": ""}, b"{}").event_type == "package"


def test_a_status_names_its_commit_and_who_posted_it() -> None:
    assert read("status", {**BASE, "sha": HEAD}).event == CommitChecked(REPO, Sha(HEAD), "dev-agent")


@pytest.mark.parametrize("event_type", ["workflow_run", "workflow_job"])
def test_a_run_of_ci_names_its_commit_and_is_not_the_doing_of_who_pushed_it(event_type: str) -> None:
    assert read(event_type, {**BASE, event_type: {"head_sha": HEAD}}).event == CommitChecked(REPO, Sha(HEAD), "")


@pytest.mark.parametrize("event_type", ["action_run_success", "action_run_failure", "action_run_recover"])
def test_a_forgejo_run_keeps_everything_in_the_run_and_is_not_the_doing_of_who_triggered_it(
    event_type: str,
) -> None:
    run = {"commit_sha": HEAD, "repository": {"full_name": REPO}, "trigger_user": {"login": "dev-agent"}}
    assert read(event_type, {"run": run}).event == CommitChecked(REPO, Sha(HEAD), "")


@pytest.mark.parametrize(
    ("event_type", "body"),
    [
        ("push", {**PUSH, "repository": None}),
        ("push", {**PUSH, "repository": {"full_name": "acme/../x"}}),
        ("push", {**PUSH, "repository": {"full_name": "acme/.."}}),
        ("push", {**PUSH, "ref": "refs/heads/"}),
        ("push", {**PUSH, "ref": "refs/heads/--upload-pack=x"}),
        ("push", {**PUSH, "ref": "refs/heads/a\nb"}),
        ("push", {**PUSH, "ref": "refs/heads/" + "x" * 256}),
        ("push", {**PUSH, "after": "main"}),
        ("push", {**PUSH, "after": None, "before": None}),
        ("push", {**PUSH, "after": HEAD.upper()}),
        ("push", {**PUSH, "ref": 1}),
        ("create", {**BASE, "ref": None, "ref_type": "branch", "sha": HEAD}),
        ("pull_request", {**PULL, "number": None}),
        ("pull_request", {**PULL, "number": -1}),
        ("pull_request", {**PULL, "number": 10**400}),
        ("pull_request", {**PULL, "pull_request": "x"}),
        ("pull_request", {**PULL, "pull_request": {"head": {}}}),
        ("pull_request_comment", {**BASE, "is_pull": True}),
        ("status", {**BASE, "sha": ZEROS}),
        ("status", {**BASE, "sha": "-x"}),
        ("workflow_run", BASE),
        ("action_run_success", {}),
    ],
)
def test_what_could_mislead_is_ignored_as_an_unexpected_shape(event_type: str, body: dict[str, Any]) -> None:
    parsed = read(event_type, body)
    assert parsed.event_type == event_type
    assert reason(parsed.event).startswith("unexpected shape:")
    assert len(reason(parsed.event)) <= 200
    assert reason(parsed.event).isprintable()


def test_strange_but_valid_branch_names_stay_what_they_are() -> None:
    name = "<img/src=x/onerror=alert(1)>;$(x)"
    event = read("push", {**PUSH, "ref": f"refs/heads/{name}"}).event
    assert isinstance(event, BranchMoved)
    assert event.branch == name


def test_an_unknown_event_is_ignored_by_name_and_a_missing_one_too() -> None:
    assert reason(read("sponsor\x1b", BASE).event) == "unknown event 'sponsor\ufffd'"
    assert reason(parse({}, b"{}").event) == "unknown event ''"


@pytest.mark.parametrize("event_type", ["issues", "release", "repository", "fork", "wiki", "package"])
def test_what_the_pipeline_does_not_use_is_ignored_with_a_reason(event_type: str) -> None:
    assert "unknown" not in reason(read(event_type, BASE).event)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b'{"x":NaN}',
        b'{"x":"\xff"}',
        b'{"ref":"a\x00b"}',
        b'{"x":"a\x00b"}',
        b'{"ref":"\\ud800"}',
        b'{"ref":' * 100_000,
    ],
    ids=range(9),
)
def test_what_is_no_json_object_is_rejected(body: bytes) -> None:
    with pytest.raises(Rejected) as caught:
        parse({"x-gitea-event-type": "push"}, body)
    assert caught.value.status == 400


def test_strange_but_valid_json_is_read() -> None:
    body = json.dumps(PUSH).encode()
    doubled = body.replace(b"{", b'{"ref":"refs/heads/other","n":%b,"z":"\\u0000",' % (b"9" * 5000), 1)
    assert parse({"x-gitea-event-type": "push"}, doubled) == parse({"x-gitea-event-type": "push"}, body)


def test_a_nul_in_a_branch_is_no_branch() -> None:
    assert "unexpected shape" in reason(read("push", {**PUSH, "ref": "refs/heads/a\0b"}).event)


TYPES = st.sampled_from([*SUPPORTED, "x"])
LEAVES = st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from([HEAD, REPO, ZEROS, "branch"])
OBJECTS = st.dictionaries(
    st.sampled_from(
        ["full_name", "login", "head", "ref", "sha", "number", "head_sha", "commit_sha", "repository"]
    ),
    LEAVES | st.dictionaries(st.sampled_from(["full_name", "ref", "sha"]), LEAVES),
)
TOP = ["action", "ref", "ref_type", "before", "after", "sha", "number", "is_pull", "issue", "pull_request"]
BODIES = st.dictionaries(st.sampled_from([*TOP, "workflow_run", "run", "repository", "sender"]), LEAVES | OBJECTS)


@settings(deadline=None)
@given(event_type=TYPES, body=BODIES)
def test_any_object_is_parsed(event_type: str, body: dict[str, Any]) -> None:
    text = json.dumps({**PULL, **body}, ensure_ascii=False).encode("utf-8", "replace")
    assert isinstance(parse({"x-gitea-event-type": event_type}, text), Parsed)


@settings(deadline=None)
@given(event_type=TYPES, body=st.binary())
def test_bytes_are_parsed_or_rejected(event_type: str, body: bytes) -> None:
    with suppress(Rejected):
        assert isinstance(parse({"x-gitea-event-type": event_type}, body), Parsed)
