"""The client of a running server: which one is meant, what its silence means, and what its refusals say."""

import json
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
import typer

from left import leave
from orchestrator.cli.answers import Answers, of_settings
from orchestrator.cli.paging import older, rows
from orchestrator.cli.server import BadAddress, Gone, Server, checked
from orchestrator.cli.wishes import Wishes
from orchestrator.config import load

GOOD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


@contextmanager
def listening(answers: Sequence[bytes]) -> Iterator[tuple[str, list[bytes]]]:
    """Gives these answers, one for each request, and closes a connection at an empty one. Keeps what was asked."""
    asked: list[bytes] = []
    left = list(answers)
    with socket.create_server(("127.0.0.1", 0)) as door:
        door.settimeout(20)

        def serve() -> None:
            while left:
                connection, _ = door.accept()
                with connection:
                    connection.settimeout(20)
                    while left and (request := _request(connection)):
                        asked.append(request)
                        answer = left.pop(0)
                        connection.sendall(answer)
                        if not answer or b"Connection: close" in answer:
                            break
                        if left and not left[0]:
                            left.pop(0)
                            break

        thread = threading.Thread(target=serve, name="door")
        thread.start()
        yield f"http://127.0.0.1:{door.getsockname()[1]}", asked
        left.clear()
        with socket.create_connection(door.getsockname()):
            thread.join()


def _request(connection: socket.socket) -> bytes:
    head = b""
    while b"\r\n\r\n" not in head:
        piece = connection.recv(65536)
        if not piece:
            return b""
        head += piece
    return head


def problem(status: int, body: object, kind: str = "application/problem+json", more: str = "") -> bytes:
    text = json.dumps(body).encode() if not isinstance(body, bytes) else body
    head = f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\n{more}Content-Length: {len(text)}\r\n\r\n"
    return head.encode() + text


def test_what_the_settings_say_and_what_a_command_names() -> None:
    assert of_settings(load({}, None)).url == "http://127.0.0.1:8500"
    assert of_settings(load({"ORCH_HOST": "0.0.0.0", "ORCH_PORT": "1"}, None)).url == "http://127.0.0.1:1"
    assert of_settings(load({"ORCH_HOST": "::"}, None)).url == "http://[::1]:8500"
    elsewhere = load({"ORCH_SERVER": "https://your.host/orch/", "ORCH_TOKEN": "a", "ORCH_API_TOKEN": "b"}, None)
    assert (of_settings(elsewhere).url, of_settings(elsewhere).token) == ("https://your.host/orch", "a")
    assert of_settings(load({"ORCH_API_TOKEN": "b"}, None), "http://other:1/").url == "http://other:1"
    assert of_settings(load({"ORCH_API_TOKEN": "b"}, None)).token == "b"


@pytest.mark.parametrize(
    "url",
    ["nonsense", "ftp://host", "http://", "http://u:p@host", "http://host?x=1", "http://host#x", "http://h:x"],
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(BadAddress):
        checked(url)
    with pytest.raises(typer.Exit) as ended:
        Answers(Wishes(server=url))
    assert ended.value.exit_code == 2


def test_the_prefix_the_token_and_the_order_are_sent() -> None:
    with listening([GOOD]) as (url, asked):
        server = Server(f"{url}/orchestrator", "secret")
        assert server.ask("POST", "/api/v1/pause", {"a": 1}).decoded() == {}
        server.close()
    assert asked[0].startswith(b"POST /orchestrator/api/v1/pause HTTP/1.1\r\n")
    assert b"Authorization: Bearer secret\r\n" in asked[0]


def test_a_question_is_asked_again_when_the_kept_connection_was_closed() -> None:
    with listening([GOOD, b"", GOOD]) as (url, asked):
        server = Server(url)
        assert server.ask("GET", "/a").is_good
        assert server.ask("GET", "/b").is_good
        server.close()
    assert [one.split()[1] for one in asked] == [b"/a", b"/b"]


def test_an_order_with_a_key_is_sent_again_when_its_answer_was_lost() -> None:
    busy = problem(503, {"detail": "The database cannot be used."})
    with listening([b"", busy, good({"key": "TASK-1"})]) as (url, asked):
        answers = Answers(Wishes(server=url))
        assert answers.order_once("/api/v1/tasks", {"role": "analyst"}) == {"key": "TASK-1"}
        answers.close()
    keys = {line for one in asked for line in one.split(b"\r\n") if line.startswith(b"Idempotency-Key: ")}
    assert (len(asked), len(keys)) == (3, 1)


@pytest.mark.parametrize(
    ("answers", "says"),
    [
        ([b""] * 3, "No orchestrator answers"),
        ([problem(503, {"detail": "All places are taken."})] * 3, "All places are taken"),
        ([problem(422, {"detail": "It is not mapped."})], "It is not mapped"),
    ],
)
def test_an_order_with_a_key_is_given_up_after_some_times_and_at_once_when_it_is_refused(
    capsys: pytest.CaptureFixture[str], answers: list[bytes], says: str
) -> None:
    with listening(answers) as (url, asked):
        asking = Answers(Wishes(server=url))
        with pytest.raises(typer.Exit):
            asking.order_once("/api/v1/tasks", {})
        asking.close()
    assert len(asked) == len(answers)
    assert says in capsys.readouterr().err


def test_an_order_is_never_given_twice() -> None:
    with listening([GOOD, b"", GOOD]) as (url, asked):
        server = Server(url)
        assert server.ask("GET", "/a").is_good
        with pytest.raises(Gone):
            server.ask("POST", "/b")
        server.close()
        assert len(asked) == 1


def test_who_says_nothing_is_there_all_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as door:
        server = Server(f"http://127.0.0.1:{door.getsockname()[1]}", timeout_s=0.05)
        with pytest.raises(Gone) as silent:
            server.ask("GET", "/")
        assert silent.value.is_there
    with pytest.raises(Gone) as nobody:
        Server("http://127.0.0.1:9").ask("GET", "/")
    assert not nobody.value.is_there


@pytest.mark.parametrize(
    ("answer", "code", "said"),
    [
        (problem(401, {"detail": "Send the API token."}), 3, "Send the API token. Set ORCH_TOKEN"),
        (problem(403, {"detail": "A token is nobody."}), 1, "A token is nobody.\n"),
        (problem(404, {"detail": "There is no task X."}), 4, "There is no task X. `orch status`"),
        (problem(404, {"detail": "Not Found"}, "application/json"), 1, "does not know this question"),
        (problem(409, {"detail": "It is over."}), 1, "It is over.\n"),
        (problem(422, {"detail": [{"loc": ["query", "limit"], "msg": "too large"}]}), 2, "limit: too large"),
        (problem(422, {"detail": "\x1b[31mred"}), 2, "�[31mred"),
        (problem(500, b"<html>", "text/html"), 1, "The server answered 500. Is it an orchestrator?"),
        (problem(301, b"", more="Location: https://x/\r\n"), 1, "at https://x/. Name that address."),
        (problem(200, b"<html>", "text/html"), 1, "is no orchestrator"),
    ],
)
def test_a_refusal_ends_the_command_with_its_words_and_code(
    answer: bytes, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with listening([answer]) as (url, _):
        asked = Answers(Wishes(server=url))
        with pytest.raises(typer.Exit) as ended:
            asked.get("/status")
        asked.close()
    assert ended.value.exit_code == code
    assert said in capsys.readouterr().err


def test_a_server_elsewhere_that_is_gone_is_not_replaced_by_a_database_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    leave(tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    asked = Answers(Wishes(server="http://127.0.0.1:9"))
    for question in (lambda: asked.get("/status"), lambda: asked.order("/x"), lambda: asked.order_or_left("/x")):
        with pytest.raises(typer.Exit) as ended:
            question()
        assert ended.value.exit_code == 1
        said = capsys.readouterr().err
        assert said.startswith("No orchestrator answers at http://127.0.0.1:9")
        assert said.endswith("Check the address, and that it can be reached from here.\n")


def good(body: object) -> bytes:
    return problem(200, body, "application/json")


def test_a_list_goes_on_while_its_pages_are_short() -> None:
    pages = [{"items": [], "next": "c1"}, {"items": [1, 2], "next": "c2"}, {"items": [3], "next": "c3"}]
    with listening([good(one) for one in pages]) as (url, asked):
        found = Answers(Wishes(server=url))
        assert rows(found, "/api/v1/events", {"type": "push", "task": None}, 3) == {
            "items": [1, 2, 3],
            "next": "c3",
        }
        found.close()
    assert [one.split()[1] for one in asked] == [
        b"/api/v1/events?type=push&limit=3",
        b"/api/v1/events?type=push&cursor=c1&limit=3",
        b"/api/v1/events?type=push&cursor=c2&limit=1",
    ]
    assert older({"next": "c3"}) == "There are older ones: --cursor c3"
    assert older({"next": None}) == ""


def test_who_follows_waits_for_a_server_that_is_busy() -> None:
    busy = {"detail": "All places are taken."}
    with listening([problem(503, busy), problem(503, busy)]) as (url, _):
        asked = Answers(Wishes(server=url))
        with pytest.raises(Gone, match="All places are taken"):
            asked.raw("/log", of_server=True)
        with pytest.raises(typer.Exit) as ended:
            asked.raw("/log")
        assert ended.value.exit_code == 1
        asked.close()
