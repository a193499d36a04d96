"""The scripted Messages API over real HTTP: shapes, script, faults, and what it refuses."""

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from orchestrator.domain.roles import USUAL_FILES, DocumentName, Language, Role
from orchestrator.sim.messages_api import MAX_REQUESTS_KEPT, Seen, create_app
from orchestrator.sim.script import (
    Assignment,
    Bash,
    Read,
    Say,
    ScenarioName,
    Write,
    read_assignment,
    steps,
    title_from,
)
from orchestrator.sim.server import LoopbackServer
from orchestrator.sim.webhook import TRUSTS_NOBODY

RUN = "61f5cf0c-1556-4498-a782-ec9aaa8e1c8c"
MARKER = f"Task: ENDURO-1 | Role: analyst | Run: {RUN}"
ENVIRONMENT = {
    "role": "system",
    "content": [{"type": "text", "text": " - Primary working directory: /srv/repo\n"}],
}
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)

Body = dict[str, Any]


@contextmanager
def served(scenario: str = "work", log: list[Seen] | None = None) -> Iterator[httpx.Client]:
    with (
        LoopbackServer(create_app(scenario, log, lambda: NOW)) as server,
        httpx.Client(verify=TRUSTS_NOBODY, base_url=server.url, timeout=10, headers={"x-api-key": "k"}) as client,
    ):
        yield client


def conversation(prompt: str = MARKER, done: int = 0, *, stream: bool = False, task_file: str = "") -> Body:
    turns: list[Body] = [{"role": "user", "content": [{"type": "text", "text": prompt}]}, ENVIRONMENT]
    for number in range(done):
        result = {
            "type": "tool_result",
            "tool_use_id": f"toolu_{number}",
            "content": task_file if not number else "ok",
        }
        turns.append({"role": "assistant", "content": [{"type": "text", "text": "…"}]})
        turns.append({"role": "user", "content": [result]})
    return {"model": "claude-sonnet-5-5", "messages": turns, "tools": [{"name": "Bash"}], "stream": stream}


def post(client: httpx.Client, body: Body) -> httpx.Response:
    return client.post("/v1/messages", params={"beta": "true"}, json=body)


def tool_call(response: httpx.Response) -> Body:
    assert response.status_code == 200, response.text
    return next(block for block in response.json()["content"] if block["type"] == "tool_use")


def events(response: httpx.Response) -> list[Body]:
    assert response.headers["content-type"].startswith("text/event-stream")
    found = []
    for part in response.text.strip().split("\n\n"):
        name, data = part.split("\n")
        event = json.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        found.append(event)
    return found


def test_the_script_goes_through_read_write_commit_and_end() -> None:
    with served() as client:
        answers = [post(client, conversation(done=done)) for done in range(4)]
    assert [tool_call(answer)["name"] for answer in answers[:3]] == ["Read", "Write", "Bash"]
    assert tool_call(answers[0])["input"] == {"file_path": "/srv/repo/.task.md"}
    assert tool_call(answers[1])["input"]["file_path"] == "/srv/repo/tasks/ENDURO-1/BRD.md"
    assert tool_call(answers[2])["input"]["command"] == (
        "git add -- tasks/ENDURO-1/BRD.md && git commit -q -m 'ENDURO-1: BRD.md'"
    )
    assert [answer.json()["stop_reason"] for answer in answers] == ["tool_use"] * 3 + ["end_turn"]
    assert all(answer.json()["usage"]["output_tokens"] > 0 for answer in answers)


def test_a_conversation_beyond_the_script_gets_the_last_answer() -> None:
    with served() as client:
        assert (
            post(client, conversation(done=9)).json()["content"]
            == post(client, conversation(done=3)).json()["content"]
        )


def test_the_same_request_gets_the_same_answer() -> None:
    with served() as client:
        assert post(client, conversation(done=1)).content == post(client, conversation(done=1)).content


def test_a_resumed_session_starts_the_script_again_at_its_last_prompt() -> None:
    body = conversation(done=4)
    body["messages"].append({"role": "user", "content": MARKER})
    with served() as client:
        assert tool_call(post(client, body))["name"] == "Read"


def test_the_stream_carries_the_same_answer_in_the_order_of_the_real_api() -> None:
    with served() as client:
        whole = post(client, conversation()).json()
        stream = events(post(client, conversation(stream=True)))
    block = ["content_block_start", "content_block_delta", "content_block_stop"]
    kinds = [event["type"] for event in stream]
    assert kinds == ["message_start", *block, *block, "message_delta", "message_stop"]
    assert stream[2]["delta"]["text"] == whole["content"][0]["text"]
    assert stream[4]["content_block"] == {**whole["content"][1], "input": {}}
    assert json.loads(stream[5]["delta"]["partial_json"]) == whole["content"][1]["input"]
    assert stream[7]["delta"]["stop_reason"] == "tool_use"
    assert stream[7]["usage"]["output_tokens"] == whole["usage"]["output_tokens"]


@pytest.mark.parametrize(
    ("language", "heading"), [("ru", "## Критерии приёмки"), ("en", "## Acceptance criteria"), ("xx", "## Goal")]
)
def test_the_document_is_in_the_language_of_the_prompt_and_carries_the_title(language: str, heading: str) -> None:
    read = "1\t# Task\n2\t\n3\tTitle: Change `the` *button*\n"
    prompt = f"{MARKER}\nLanguage: {language}\n\nWrite it."
    with served() as client:
        text = tool_call(post(client, conversation(prompt, 1, task_file=read)))["input"]["content"]
    assert heading in text
    assert text.startswith("# BRD ENDURO-1: Change the button\n")


@pytest.mark.parametrize(
    ("task_file", "title"),
    [
        ("Title: one\n# two", "one"),
        ("     1→# two", "two"),
        ("Название: три", "три"),
        ("Title: a\x1b[31m\u202eb\x00", "a 31m b"),
        ("Title: " + "x" * 500, "x" * 120),
        ("Title: ``", "fallback"),
        ("Title:\nbody", "fallback"),
        ("", "fallback"),
    ],
)
def test_a_title_is_one_harmless_line(task_file: str, title: str) -> None:
    assert title_from(task_file, "fallback") == title


@pytest.mark.parametrize(
    "prompt",
    [
        f"x\n{MARKER}",
        f"> {MARKER}",
        MARKER.replace("analyst", "owner"),
        MARKER.replace("ENDURO-1", "../x"),
        MARKER.replace(RUN, "1"),
        MARKER + " and more",
        "",
    ],
)
def test_only_our_own_first_line_is_a_marker(prompt: str) -> None:
    assert read_assignment(prompt) is None
    with served() as client:
        answer = post(client, conversation(prompt))
    assert answer.status_code == 400
    assert "first line" in answer.json()["error"]["message"]


def test_the_marker_is_read_whole() -> None:
    found = read_assignment(f"{MARKER}\nLanguage: ru\nScenario: slow:3\n\nrest")
    assert found == Assignment("ENDURO-1", Role.ANALYST, RUN, Language.RU, "slow:3")


@pytest.mark.parametrize(
    ("line", "files"),
    [
        ("A.md | B.md | C.md | Отчёт.md", ["A.md", "B.md", "C.md", "Отчёт.md"]),
        ("A.md | B.md", list(USUAL_FILES.values())),
        ("../A.md | B.md | C.md | D.md", list(USUAL_FILES.values())),
        ("", list(USUAL_FILES.values())),
    ],
)
def test_the_documents_names_are_the_projects(line: str, files: list[str]) -> None:
    found = read_assignment(f"{MARKER}\nLanguage: ru\nDocuments: {line}\n")
    assert found is not None
    assert [found.files[name] for name in DocumentName] == files


def test_a_schema_is_answered_by_the_tool_that_the_cli_offers_for_it() -> None:
    prompt = MARKER.replace("analyst", "reviewer")
    body = conversation(prompt, 2)
    with served() as client:
        in_words = post(client, body).json()
        call = tool_call(post(client, {**body, "tools": [{"name": "StructuredOutput"}]}))
    assert (in_words["stop_reason"], in_words["content"][0]["type"]) == ("end_turn", "text")
    assert (call["name"], call["input"]["verdict"]) == ("StructuredOutput", "approved")


@pytest.mark.parametrize(
    ("scenario", "kinds"),
    [
        (ScenarioName.WORK, [Read, Write, Bash, Say]),
        (ScenarioName.NO_COMMIT, [Read, Write, Say]),
        (ScenarioName.LONG_TOOL, [Read, Bash, Write, Bash, Say]),
    ],
)
def test_a_scenario_changes_the_steps(scenario: ScenarioName, kinds: list[type]) -> None:
    found = steps(Assignment("X-1", Role.ANALYST, RUN, Language.EN), scenario, "/srv", ())
    assert [type(step) for step in found] == kinds


@pytest.mark.parametrize(
    ("scenario", "status", "kind"),
    [
        ("http_401", 401, "authentication_error"),
        ("http_429", 429, "rate_limit_error"),
        ("http_529", 529, "overloaded_error"),
        ("usage_limit", 429, "rate_limit_error"),
    ],
)
def test_a_lasting_fault_is_answered_every_time(scenario: str, status: int, kind: str) -> None:
    with served(scenario) as client:
        answers = [post(client, conversation(stream=True)) for _ in range(4)]
    assert {answer.status_code for answer in answers} == {status}
    assert {answer.json()["error"]["type"] for answer in answers} == {kind}


def test_a_used_up_window_names_its_reset_time() -> None:
    with served("usage_limit") as client:
        headers = post(client, conversation()).headers
    assert headers["anthropic-ratelimit-unified-status"] == "rejected"
    assert int(headers["anthropic-ratelimit-unified-reset"]) == int(NOW.timestamp()) + 3600


def test_overload_ends_after_two_answers_of_each_run() -> None:
    other = MARKER.replace(RUN, RUN.replace("6", "7"))
    with served("overloaded_then_work") as client:
        for prompt in (MARKER, other):
            assert [post(client, conversation(prompt)).status_code for _ in range(4)] == [529, 529, 200, 200]


def test_a_cut_stream_breaks_off_once() -> None:
    with served("cut_stream_then_work") as client:
        with pytest.raises(httpx.RemoteProtocolError):
            post(client, conversation(stream=True))
        assert events(post(client, conversation(stream=True)))[-1]["type"] == "message_stop"


def test_a_prompt_may_name_its_own_scenario() -> None:
    with served("work") as client:
        assert post(client, conversation(f"{MARKER}\nScenario: http_401")).status_code == 401
        unknown = post(client, conversation(f"{MARKER}\nScenario: nonsense"))
    assert unknown.status_code == 400
    assert "known are" in unknown.json()["error"]["message"]


@pytest.mark.parametrize("scenario", ["nonsense", "work:3", "slow:x", "hang", ""])
def test_an_unknown_scenario_is_refused_at_the_start(scenario: str) -> None:
    with pytest.raises(ValueError, match="scenario"):
        create_app(scenario)


def test_a_slow_scenario_still_works() -> None:
    with served("slow:0.01") as client:
        assert tool_call(post(client, conversation()))["name"] == "Read"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b"\xff",
        b"[" * 100_000,
        b'{"messages": 1}',
        b'{"messages": [1, null, {"role": "user", "content": [7, {"type": "text", "text": 5}]}]}',
    ],
    ids=["empty", "list", "half", "not utf-8", "deep", "no list", "wrong types"],
)
def test_a_body_that_is_no_conversation_is_a_400(body: bytes) -> None:
    with served() as client:
        assert client.post("/v1/messages", content=body).status_code == 400


def test_a_body_over_the_limit_is_a_413() -> None:
    with served() as client:
        assert client.post("/v1/messages", content=b" " * (33 * 1024 * 1024)).status_code == 413


def test_a_lone_surrogate_is_no_server_error() -> None:
    body = {**conversation(), "model": "\ud800"}
    with served() as client:
        assert client.post("/v1/messages", content=json.dumps(body)).status_code == 200


def test_requests_are_listed_without_their_credentials() -> None:
    log: list[Seen] = []
    secret = "canary-credential"
    with served(log=log) as client:
        client.post("/v1/messages", json=conversation(done=1), headers={"Authorization": f"Bearer {secret}"})
        listed = client.get("/requests")
    assert secret not in listed.text
    seen = listed.json()["requests"][0]
    assert listed.json()["count"] == 1
    assert (seen["key"], seen["role"], seen["run"], seen["step"]) == ("ENDURO-1", "analyst", RUN, 1)
    assert (seen["model"], seen["tools"], seen["status"]) == ("claude-sonnet-5-5", 1, 200)
    assert seen["has_api_key"]
    assert seen["has_authorization"]
    assert seen["authorization_sha256"] == hashlib.sha256(f"Bearer {secret}".encode()).hexdigest()
    assert [entry.run for entry in log] == [RUN]


def test_the_log_is_bounded() -> None:
    log = [Seen("", 0, False, "", "", "", 0, 200, False, False, "", "")] * (MAX_REQUESTS_KEPT + 5)
    with served(log=log) as client:
        post(client, conversation())
    assert len(log) == MAX_REQUESTS_KEPT
    assert log[-1].run == RUN


def test_the_module_says_where_it_listens() -> None:
    command = [sys.executable, "-m", "orchestrator.sim.messages_api", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=dict(os.environ)) as process:
        try:
            assert process.stdout is not None
            found = re.fullmatch(r"listening on (http://127\.0\.0\.1:\d+)\n", process.stdout.readline())
            assert found is not None
            with httpx.Client(verify=TRUSTS_NOBODY, base_url=found[1], timeout=10) as client:
                assert tool_call(post(client, conversation()))["name"] == "Read"
        finally:
            process.terminate()
            process.wait(10)
