"""From a signed delivery to a document in the forge, told as a user would live it."""

import json
import os
import signal
from pathlib import Path

import httpx
import pytest

import warm
from orchestrator.agents.rates import RATES, Rates
from orchestrator.sim.world import ITEM, PROJECT, REPO, Service, World
from orchestrator.sim.wrapper import write_wrapper
from support import at_rest, only_task, query, starts, until

BRANCH = "feature/ENDURO-1-marshrut-import-gpx-b-quotes"
BRD = "tasks/ENDURO-1/BRD.md"


def test_a_new_work_item_ends_as_a_document_on_its_branch(world: World, service: Service, ledger: Path) -> None:
    world.post_recorded(service, "issue__created__rest")
    with service.client() as client:
        task = at_rest(client)
        run = task["runs"][-1]
        log = client.get(run["log"]).text
    assert (task["key"], task["stage"], task["branch"]) == ("ENDURO-1", "analysis", BRANCH)
    assert [item["code"] for item in task["waiting"]] == ["approval"]
    assert (run["role"], run["outcome"], run["exit_code"]) == ("analyst", "succeeded", 0)
    assert run["turns"] > 0
    assert run["output_tokens"] > 0
    assert run["cost_usd"] > 0
    assert Rates(world.root / "data" / RATES).of(run["model"]) > 0, "the next run's cost is told while it works"
    assert '"type":"result"' in log.replace(" ", "")
    assert world.gitea.head(REPO, BRANCH) == run["head_sha"] == task["head_sha"]
    assert b"GPX" in (world.gitea.file_at(REPO, BRANCH, BRD) or b"")
    assert world.gitea.file_at(REPO, BRANCH, ".task.md") is None
    assert len(starts(ledger)) == 1


@pytest.mark.real_cli
def test_the_real_cli_writes_and_commits_the_document(world: World, real_claude: Path) -> None:
    world.is_sandboxed = True
    with Service(world.root, world.settings(real_claude)) as service, service.client() as client:
        world.connect(service)
        world.post_recorded(service, "issue__created__rest")
        task = at_rest(client)
        run = task["runs"][-1]
        assert (run["outcome"], run["reason"], run["detail"]) == ("succeeded", "", ""), run
        assert run["cli_version"] == "2.1.330"
        assert world.gitea.head(REPO, BRANCH) == run["head_sha"]
        assert world.gitea.file_at(REPO, BRANCH, BRD)
        seen = httpx.get(f"{world.model_url}/requests").json()
    assert seen["count"] > 0


def test_deliveries_five_times_and_out_of_order_start_one_agent(
    world: World, service: Service, ledger: Path
) -> None:
    for name in ("issue__updated__priority", "issue__created__rest", "issue__updated__description_html") * 5:
        assert world.post_recorded(service, name).status_code == 200
    with service.client() as client:
        until(lambda: at_rest(client)["waiting"][0]["code"] == "approval", "the document waits")
    assert len(starts(ledger)) == 1
    assert query(service, "SELECT count(*), sum(repeats) FROM events WHERE source = 'plane'") == [(3, 12)]


def test_a_restart_takes_up_the_run_that_is_at_work(world: World, tmp_path: Path, ledger: Path) -> None:
    slow = write_wrapper(tmp_path / "slow", "slow:1", ledger)
    service = Service(world.root, world.settings(slow)).start()
    with service.client() as client:
        world.post_recorded(service, "issue__created__rest")
        until(lambda: starts(ledger), "the agent started")
    service.kill()
    service.start()
    with service.client() as client:
        task = at_rest(client)
    service.stop()
    assert [(run["attempt"], run["outcome"]) for run in task["runs"]] == [(1, "succeeded")]
    assert len(starts(ledger)) == 1


def test_a_run_whose_shim_was_killed_is_lost_and_made_again(world: World, tmp_path: Path, ledger: Path) -> None:
    hanging = write_wrapper(tmp_path / "claude", "hang", ledger)
    service = Service(world.root, world.settings(hanging), starter=warm.started).start()
    world.post_recorded(service, "issue__created__rest")
    until(lambda: starts(ledger), "the agent started")
    service.kill()
    run_dir = service.root / "data" / "runs" / "1"
    shim, agent = holder(run_dir / "lock"), holder(run_dir / "tether")
    os.kill(shim, signal.SIGKILL)
    until(lambda: not is_alive(agent), "the agent died with its shim")
    write_wrapper(tmp_path / "claude", "work", ledger)
    service.start()
    with service.client() as client:
        at_rest(client)
        runs = client.get("/api/v1/tasks/ENDURO-1").json()["runs"]
    service.stop()
    assert [(run["attempt"], run["outcome"]) for run in runs] == [(1, "lost"), (2, "succeeded")]
    assert len(set(starts(ledger))) == 2


def is_alive(pid: int) -> bool:
    """A zombie that nobody has waited for yet is dead."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def holder(file: Path) -> int:
    """The one process that has this file open."""

    def look() -> list[int]:
        return [int(process.name) for process in Path("/proc").glob("[0-9]*") if has_open(process, file.resolve())]

    (found,) = until(look, f"somebody holds {file.name}")
    return found


def has_open(process: Path, file: Path) -> bool:
    try:
        return any(descriptor.resolve() == file for descriptor in (process / "fd").iterdir())
    except OSError:
        return False


def test_an_agent_that_committed_nothing_did_not_succeed(world: World, tmp_path: Path) -> None:
    liar = write_wrapper(tmp_path / "claude", "no_commit")
    with Service(world.root, world.settings(liar), starter=warm.started) as service, service.client() as client:
        world.post_recorded(service, "issue__created__rest")
        run = at_rest(client)["runs"][-1]
    assert (run["outcome"], run["reason"]) == ("failed", "no_commit")
    assert world.gitea.file_at(REPO, BRANCH, BRD) is None


def test_a_failed_run_waits_for_an_operator_who_retries_it(world: World, tmp_path: Path) -> None:
    failing = write_wrapper(tmp_path / "claude", "fail")
    with Service(world.root, world.settings(failing), starter=warm.started) as service, service.client() as client:
        world.post_recorded(service, "issue__created__rest")
        assert at_rest(client)["waiting"][0]["code"] == "run_not_successful"
        write_wrapper(tmp_path / "claude", "work")
        assert client.post("/api/v1/tasks/ENDURO-1/retry").status_code == 202
        until(lambda: [item["code"] for item in at_rest(client)["waiting"]] == ["approval"], "it succeeded")
        assert client.post("/api/v1/tasks/ENDURO-1/retry").status_code == 409
        assert client.post("/api/v1/tasks/NONE-1/retry").status_code == 404


def test_a_run_is_cancelled_on_demand(world: World, tmp_path: Path, ledger: Path) -> None:
    hanging = write_wrapper(tmp_path / "claude", "hang", ledger)
    with Service(world.root, world.settings(hanging), starter=warm.started) as service, service.client() as client:
        world.post_recorded(service, "issue__created__rest")
        until(lambda: starts(ledger), "the agent started")
        assert client.post("/api/v1/runs/1/cancel").status_code == 202
        assert at_rest(client)["runs"][-1]["outcome"] == "cancelled"
        assert client.post("/api/v1/runs/1/cancel").status_code == 409


def test_a_lost_delivery_is_healed_by_the_resync(world: World, scripted: Path, ledger: Path) -> None:
    environ = world.settings(scripted) | {"ORCH_RESYNC_INTERVAL_S": "1"}
    with Service(world.root, environ, starter=warm.started) as service, service.client() as client:
        until(lambda: query(service, "SELECT * FROM watermarks"), "the project is followed")
        made = world.plane.create_work_item(PROJECT, {"name": "Никто не сказал"}, by="alice")
        task = at_rest(client)
    assert task["plane_id"] == made["id"]
    assert task["runs"][-1]["outcome"] == "succeeded"
    assert len(starts(ledger)) == 1


def test_while_gitea_is_down_the_task_waits_and_says_so_then_goes_on(world: World, service: Service) -> None:
    world.gitea.down = True
    world.post_recorded(service, "issue__created__rest")
    with service.client() as client:
        assert [item["code"] for item in at_rest(client)["waiting"]] == ["gitea_busy"]
        world.gitea.down = False
        until(lambda: only_task(client)["runs"], "the run was intended")
        assert at_rest(client)["runs"][-1]["outcome"] == "succeeded"


@pytest.mark.parametrize(
    ("left_out", "code"),
    [
        (("ORCH_PLANE_API_TOKEN_FILE",), "no_plane_token"),
        (("ORCH_GITEA_TOKEN_FILE",), "no_gitea_token"),
        (("ORCH_CONFIG",), "project_mapping"),
    ],
)
def test_what_is_not_set_up_is_journaled_waits_and_is_said(
    world: World, scripted: Path, left_out: tuple[str, ...], code: str
) -> None:
    environ = {name: value for name, value in world.settings(scripted).items() if name not in left_out}
    (world.root / "orchestrator.yaml").rename(world.root / "elsewhere.yaml")
    environ |= {"ORCH_CONFIG": str(world.root / "elsewhere.yaml")} if "ORCH_CONFIG" in environ else {}
    with Service(world.root, environ, starter=warm.started) as service, service.client() as client:
        assert world.post_recorded(service, "issue__created__rest").json() == {"status": "accepted"}
        task = at_rest(client)
        assert [item["code"] for item in task["waiting"]] == [code]
        problems = client.get("/status").json()["problems"]
        ready = client.get("/ready")
        assert ready.status_code == 200
    wanted = {"project_mapping": "no_projects"}.get(code, code)
    assert wanted in {problem["code"] for problem in problems}
    assert wanted in {finding["code"] for finding in ready.json()["findings"]}
    assert all(problem["mend"] for problem in problems)
    logged = [json.loads(line) for line in service.log.read_text().splitlines()]
    assert wanted in {line["code"] for line in logged if line["event"] == "missing"}


def test_the_item_is_named_in_the_journal_by_its_task(world: World, service: Service) -> None:
    world.post_recorded(service, "issue__created__rest")
    with service.client() as client:
        at_rest(client)
    assert query(service, f"SELECT processed, task_id FROM events WHERE payload LIKE '%{ITEM}%'") == [(1, 1)]
