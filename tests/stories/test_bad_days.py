"""A locked database, a full disk, refused starts: clear answers, nothing lost that was accepted."""

import itertools
import random
import resource
import signal
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

import counted
import warm
from orchestrator.sim.webhook import TRUSTS_NOBODY, load_recorded, plane_headers
from orchestrator.sim.world import Service, World
from orchestrator.store.payload import unpacked
from support import FIXTURES, Pulse, query, until

SENDERS = 8


def signed(number: int, size: int = 1000) -> tuple[bytes, dict[str, str]]:
    """A well-signed delivery of an event that starts nothing, with a body of its own that hardly shrinks."""
    text = random.Random(number).randbytes(size // 2).hex().encode()
    body = b'{"event": "cycle", "action": "created", "data": {"n": %d, "x": "%s"}}' % (number, text)
    secret = load_recorded(FIXTURES / "plane" / "issue__created__rest.json").secret
    return body, plane_headers("cycle", f"00000000-0000-4000-8000-{number:012d}", secret, body)


def post(service: Service, number: int, size: int = 1000) -> httpx.Response:
    body, headers = signed(number, size)
    return httpx.post(
        f"{service.url}/webhook/plane", verify=TRUSTS_NOBODY, content=body, headers=headers, timeout=20
    )


def bodies(service: Service) -> set[bytes]:
    return {unpacked(row[0]) for row in query(service, "SELECT payload FROM events")}


def test_while_the_database_is_locked_senders_are_told_to_come_back_and_nothing_accepted_is_lost(
    service: Service,
) -> None:
    accepted = [n for n in range(20) if post(service, n).json() == {"status": "accepted"}]
    assert len(accepted) == 20
    holder = sqlite3.connect(service.root / "data" / "orchestrator.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with Pulse(service) as pulse, ThreadPoolExecutor(8) as pool:
        refused = list(pool.map(lambda n: post(service, n), range(20, 52)))
        pulse.beats()
    assert {answer.status_code for answer in refused} == {503}
    assert all(answer.headers["retry-after"] for answer in refused)
    assert all("database" in answer.json()["message"].lower() for answer in refused)
    assert max(answer.elapsed.total_seconds() for answer in refused) < 20
    holder.execute("ROLLBACK")
    holder.close()
    assert post(service, 52).json() == {"status": "accepted"}
    assert post(service, 20).json() == {"status": "accepted"}
    assert bodies(service) == {signed(n)[0] for n in (*accepted, 52, 20)}
    assert_a_log_of_records(service)


def assert_a_log_of_records(service: Service) -> None:
    """No traceback of the interpreter's own between the lines."""
    assert [line for line in service.log.read_text().splitlines() if not line.startswith("{")] == []


@pytest.mark.nightly
def test_thirty_seconds_of_lock_are_answered_within_two_each_whoever_else_sends(service: Service) -> None:
    assert post(service, 0).json() == {"status": "accepted"}
    holder = sqlite3.connect(service.root / "data" / "orchestrator.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    end, numbers = time.monotonic() + 30, itertools.count(1)

    def send_until_the_end(_sender: int) -> list[httpx.Response]:
        answers = []
        while time.monotonic() < end:
            answers.append(post(service, next(numbers)))
        return answers

    with Pulse(service) as pulse, ThreadPoolExecutor(SENDERS) as pool:
        refused = [answer for answers in pool.map(send_until_the_end, range(SENDERS)) for answer in answers]
    holder.execute("ROLLBACK")
    holder.close()
    slowest = max(answer.elapsed.total_seconds() for answer in refused)
    counted.said(f"{len(refused)} deliveries refused in 30 s of lock, the slowest after {slowest:.2f} s")
    assert {answer.status_code for answer in refused} == {503}
    assert len(refused) > SENDERS
    assert slowest < 2
    assert pulse.slowest_s < 2
    assert post(service, next(numbers)).json() == {"status": "accepted"}
    assert len(query(service, "SELECT id FROM events")) == 2


def test_a_full_disk_is_told_to_senders_and_room_again_needs_no_restart(service: Service) -> None:
    """A limit on file size is what a process sees of a full disk, without root."""
    assert service.process is not None
    pid = service.process.pid
    assert post(service, 0).json() == {"status": "accepted"}
    _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    wal = service.root / "data" / "orchestrator.db-wal"
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (wal.stat().st_size + 50_000, hard))
    with Pulse(service) as pulse:
        answers = [post(service, n, 30_000) for n in range(1, 12)]
        pulse.beats()
    refused = [answer for answer in answers if answer.status_code != 200]
    assert refused
    assert {answer.status_code for answer in refused} == {503}
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (1000, hard))
    with service.client() as client:
        assert client.get("/ready").status_code == 503
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))
    until(lambda: post(service, 100).status_code == 200, "deliveries are stored again")
    with service.client() as client:
        assert client.get("/ready").status_code == 200
    kept = {signed(n, 30_000)[0] for n, answer in enumerate(answers, 1) if answer.status_code == 200}
    assert kept <= bodies(service)
    assert query(service, "PRAGMA integrity_check") == [("ok",)]


def started_badly(world: World, scripted: Path, **changes: str | None) -> tuple[int, str]:
    environ = {**world.settings(scripted), **{name: value for name, value in changes.items() if value is not None}}
    environ = {name: value for name, value in environ.items() if not (name in changes and changes[name] is None)}
    service = Service(world.root, environ, starter=warm.started)
    with pytest.raises(RuntimeError) as fault:
        service.start()
    assert service.process is not None
    return service.process.wait(10), str(fault.value)


def test_serve_refuses_to_start_without_webhook_secrets(world: World, scripted: Path) -> None:
    code, said = started_badly(world, scripted, ORCH_PLANE_WEBHOOK_SECRET_FILE=None)
    assert code == 3
    assert "ORCH_PLANE_WEBHOOK_SECRET" in said
    assert "--allow-unsigned-loopback" in said


def test_an_empty_secret_is_no_secret(world: World, scripted: Path) -> None:
    code, _ = started_badly(world, scripted, ORCH_GITEA_WEBHOOK_SECRET_FILE=None, ORCH_GITEA_WEBHOOK_SECRET="  ")
    assert code == 3


def test_contradictions_are_told_line_by_line(world: World, scripted: Path) -> None:
    code, said = started_badly(
        world, scripted, ORCH_CLAUDE_OAUTH_TOKEN="x", ORCH_DB_PATH="/a", ORCH_DATABASE_URL="sqlite:////b"
    )
    assert code == 3
    assert "ORCH_CLAUDE_OAUTH_TOKEN" in said
    assert "ORCH_DB_PATH" in said


def test_a_faulty_orchestrator_yaml_names_its_line(world: World, scripted: Path) -> None:
    environ = world.settings(scripted)
    (world.root / "orchestrator.yaml").write_text("projects:\n  - repository: a/b\n")
    service = Service(world.root, environ)
    with pytest.raises(RuntimeError, match=r"orchestrator.yaml:2: plane_project is missing"):
        service.start()


def test_unsigned_deliveries_are_taken_only_on_loopback_and_only_when_asked_for(
    world: World, scripted: Path
) -> None:
    environ = {name: value for name, value in world.settings(scripted).items() if "WEBHOOK" not in name}
    environ["ORCH_HOST"] = "0.0.0.0"
    with Service(world.root, environ, ("--allow-unsigned-loopback",), starter=warm.started) as service:
        body, _ = signed(1)
        headers = {"Content-Type": "application/json", "X-Plane-Event": "cycle"}
        assert service.url.startswith("http://127.0.0.1:")
        for bad in ({"X-Forwarded-For": "1.2.3.4"}, {"Host": "evil.example"}, {"Forwarded": "for=1.2.3.4"}):
            assert (
                httpx.post(f"{service.url}/webhook/plane", content=body, headers=headers | bad).status_code == 401
            )
        assert httpx.post(f"{service.url}/webhook/plane", content=body, headers=headers).json() == {
            "status": "accepted"
        }
        assert service.log.read_text().count("unsigned_deliveries_accepted") == 1
        service.stop()
        service.start()
        assert service.log.read_text().count("unsigned_deliveries_accepted") == 2


def test_sigterm_ends_the_service_cleanly(service: Service) -> None:
    assert service.stop() in {0, -signal.SIGTERM}
    assert '"stopped"' in service.log.read_text()
    service.start()
