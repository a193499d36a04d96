"""The commands as a person starts them: words, exit codes, and nothing left behind."""

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

import warm
from orchestrator import __version__
from orchestrator.agents.probe import Probe, landlock_abi
from orchestrator.agents.sandbox import LANDLOCK_TCP_ABI, Capability
from orchestrator.agents.uids import Pool
from orchestrator.config import setting_names
from orchestrator.configfile import effective, parse
from orchestrator.domain.model import Person, UserId
from orchestrator.domain.roles import Role
from orchestrator.sim.world import API_TOKEN, APPROVER, Service, World
from support import FIXTURES, ROOT, at_rest, leftovers, only_task, until
from warm import executed, orch

ORCH = [sys.executable, "-m", "orchestrator"]
UIDS = (64320, 64329)
"""For measuring only; the demo has its own."""
DEMO_LIMIT_S = 240
"""A hang is found, and a machine that does six other things is none."""


def orch_script(*arguments: str, cwd: Path, environ: Mapping[str, str]) -> str:
    """As a shell calls it for completion: by its name. What it says."""
    env = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", **environ}
    start = "import sys; sys.argv[0] = 'orch'; from orchestrator.cli.app import main; main()"
    line = [sys.executable, "-c", start, *arguments]
    done = subprocess.run(line, cwd=cwd, env=env, capture_output=True, text=True, timeout=100, check=False)
    return done.stdout


def test_version_and_help(tmp_path: Path) -> None:
    assert executed("version", cwd=tmp_path).stdout.strip() == __version__
    shown = executed("--help", cwd=tmp_path).stdout
    of_tasks = ("status", "task", "explain", "runs", "logs", "events", "launch", "approve", "retry", "verify")
    for command in ("serve", "doctor", "demo", *of_tasks):
        assert command in shown


def test_the_printed_example_is_the_shipped_one(tmp_path: Path) -> None:
    assert orch("config", "example", cwd=tmp_path).stdout == (ROOT / ".env.example").read_text()


def test_a_bad_configuration_file_is_told_line_by_line(tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("projects:\n  - repository: a/b\n    gates: {approvals: 99}\npeople: x\n")
    done = orch("config", "validate", str(bad), cwd=tmp_path)
    assert done.returncode == 3
    assert done.stdout == ""
    assert [line.rpartition(".yaml:")[2][:2] for line in done.stderr.splitlines()] == ["2:", "3:", "4:"]
    assert orch("config", "validate", "none.yaml", cwd=tmp_path).returncode == 3
    assert orch("config", "validate", cwd=tmp_path, environ={"ORCH_PORT": "x"}).returncode == 3


def test_a_good_configuration_file_is_told_to_be_good(tmp_path: Path) -> None:
    shutil.copy(ROOT / "orchestrator.yaml.example", tmp_path / "orchestrator.yaml")
    done = orch("config", "validate", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "projects: 1, people: 1, approvers: 1" in done.stdout
    assert "acme/enduro-trails from main: review agent, ci required" in done.stdout


def test_the_effective_configuration_has_every_default_and_no_secret(tmp_path: Path) -> None:
    shutil.copy(ROOT / "orchestrator.yaml.example", tmp_path / "orchestrator.yaml")
    environ = {name: "hidden-value" * 3 for name in setting_names() if f"{name}_FILE" in setting_names()}
    del environ["ORCH_ANTHROPIC_API_KEY"]
    del environ["ORCH_GITEA_OAUTH_CLIENT_SECRET"]  # it would need the public address
    environ |= {"ORCH_DATABASE_URL": "sqlite:///u:hidden-value@x/y.db", "ORCH_ALLOWED_HOSTS": "a.test"}
    done = orch("config", "show", "--json", cwd=tmp_path, environ=environ)
    shown = json.loads(done.stdout)
    assert shown["projects"][0]["gates"]["returns_in_all"] == 8
    assert shown["settings"]["ORCH_PORT"] == 8500
    assert (shown["settings"]["ORCH_ALLOWED_HOSTS"], shown["settings"]["ORCH_SANDBOX_READ"]) == (["a.test"], [])
    assert (shown["settings"]["ORCH_GITEA_TOKEN"], shown["settings"]["ORCH_ANTHROPIC_API_KEY"]) == ("set", None)
    names = {
        name
        for name in setting_names()
        if name.removesuffix("_FILE") not in setting_names() or not name.endswith("_FILE")
    }
    assert set(shown["settings"]) == names
    assert "hidden-value" not in done.stdout
    written = yaml.safe_dump({key: shown[key] for key in ("projects", "people")})
    assert effective(parse(written)) == {key: shown[key] for key in ("projects", "people")}


def test_doctor_on_a_bare_machine_names_each_gap_and_its_mending(tmp_path: Path) -> None:
    done = orch("doctor", "--json", cwd=tmp_path, environ={"ORCH_CLAUDE_BIN": "/nonexistent/claude"})
    found = {finding["code"]: finding for finding in json.loads(done.stdout)}
    assert done.returncode == 1
    wanted = {
        "no_plane_token",
        "no_gitea_token",
        "no_model_credential",
        "no_projects",
        "no_cli",
        "no_webhook_secret",
    }
    assert wanted <= set(found)
    assert [code for code, finding in found.items() if not finding["mend"] and finding["level"] != "fine"] == []
    assert found["database"]["level"] == "fine"
    for_people = orch("doctor", cwd=tmp_path)
    assert "ORCH_GITEA_TOKEN" in for_people.stdout


def test_doctor_on_a_good_set_up_finds_nothing(world: World, scripted: Path) -> None:
    if landlock_abi() < LANDLOCK_TCP_ABI:
        pytest.skip(f"this kernel's Landlock (ABI {landlock_abi()}) does not know TCP")
    world.is_sandboxed = True
    environ = {**world.settings(scripted), **with_roles(world)}
    configure(world, "states: {analysis: In Progress, done: Done}", "trigger: {state: Todo}")
    done = orch("doctor", "--json", cwd=world.root, environ=environ)
    found = {finding["code"]: finding["level"] for finding in json.loads(done.stdout)}
    assert set(found.values()) == {"fine"}, done.stdout
    assert {"plane", "gitea", "roles", "cli", "sandbox", "database", "disk"} <= set(found)
    assert done.returncode == 0


def with_roles(world: World, developer: str = "writes-code", reviewer: str = "reads-code") -> dict[str, str]:
    """Settings with a Gitea user for each of the two roles, in place of the world's own."""
    for login in {developer, reviewer}:
        world.gitea.add_user(login, login)
    files = {}
    for role, login in (("developer", developer), ("reviewer", reviewer)):
        path = world.root / "secrets" / f"{role}-of-test"
        path.write_text(world.gitea.add_token(login))
        files[f"ORCH_GITEA_TOKEN_{role.upper()}_FILE"] = str(path)
    return files


def configure(world: World, *options: str) -> None:
    """Adds lines to the project of the world."""
    file = world.root / "orchestrator.yaml"
    lines = "".join(f"    {option}\n" for option in options)
    file.write_text(file.read_text().replace("people:", f"{lines}people:"))


def test_doctor_finds_that_one_user_has_two_tokens_and_what_plane_does_not_have(
    world: World, scripted: Path
) -> None:
    environ = {**world.settings(scripted), **with_roles(world, "one", "one")}
    configure(world, "states: {ci: Checking}", "trigger: {label: no-such-label}", "gates: {approvals: 2}")
    done = orch("doctor", "--json", cwd=world.root, environ=environ)
    found = {finding["code"]: finding["message"] for finding in json.loads(done.stdout)}
    assert done.returncode == 1
    assert "QG-5 asks a person" in found["one_gitea_user"]
    assert "'Checking'" in found["no_such_state"]
    assert "'no-such-label'" in found["no_such_label"]
    assert "2 approvals" in found["too_few_approvers"]


def test_doctor_says_what_plane_and_gitea_refuse(world: World, scripted: Path) -> None:
    environ = {**world.settings(scripted), "ORCH_PLANE_API_TOKEN": "wrong", "ORCH_GITEA_TOKEN": "wrong"}
    del environ["ORCH_PLANE_API_TOKEN_FILE"], environ["ORCH_GITEA_TOKEN_FILE"]
    done = orch("doctor", "--json", cwd=world.root, environ=environ)
    found = {finding["code"]: finding for finding in json.loads(done.stdout)}
    assert done.returncode == 1
    assert "ORCH_PLANE_API_TOKEN" in found["plane_refused"]["mend"]
    assert "write:repository" in found["gitea_refused"]["mend"]
    assert "wrong" not in done.stdout


def test_a_bad_setting_ends_every_command_with_code_3(tmp_path: Path) -> None:
    for start, command in ((executed, "serve"), (executed, "status"), (orch, "doctor")):
        done = start(command, cwd=tmp_path, environ={"ORCH_PORT": "x"})
        assert done.returncode == 3
        assert done.stderr.startswith("ORCH_PORT")
        assert "Traceback" not in done.stderr


def test_status_shows_tasks_and_why_they_wait(world: World, service: Service) -> None:
    world.post_recorded(service, "issue__created__rest")
    with service.client() as client:
        at_rest(client)
    environ = {**service.environ, "ORCH_PORT": service.url.rpartition(":")[2]}
    shown = json.loads(executed("status", "--json", cwd=world.root, environ=environ).stdout)
    assert shown["active_tasks"][0]["key"] == "ENDURO-1"
    assert orch("retry", "NONE-1", cwd=world.root, environ=environ).returncode == 4
    assert orch("retry", "ENDURO-1", cwd=world.root, environ=environ).returncode == 1
    for command, missing in (("cancel", "NONE-1"), ("cancel", "77"), ("resume", "NONE-1")):
        assert orch(command, missing, cwd=world.root, environ=environ).returncode == 4


def test_a_task_its_run_and_its_events_are_shown_replayed_and_approved_by_nobody(
    world: World, service: Service
) -> None:
    world.post_recorded(service, "issue__created__rest")
    with service.client() as client:
        at_rest(client)
    # As from another machine: an address and a token.
    environ = {"ORCH_SERVER": service.url, "ORCH_TOKEN": API_TOKEN}

    def shown(*arguments: str) -> Any:
        done = orch(*arguments, cwd=world.root, environ=environ)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        return json.loads(done.stdout)

    [run] = shown("runs", "--task", "ENDURO-1")["items"]
    assert (run["task"], run["role"], run["outcome"]) == ("ENDURO-1", "analyst", "succeeded")
    assert shown("runs", "--task", "NONE-1") == {"items": [], "next": None}
    assert shown("task", "ENDURO-1")["runs"] == [run]
    [event] = shown("events", "--source", "plane", "--type", "issue")["items"]
    assert (event["task"], event["action"]) == ("ENDURO-1", "created")
    assert shown("replay", str(event["id"])) == {"status": "looking"}
    assert shown("events", "--source", "plane")["items"][0]["id"] == event["id"]
    for command in (("approve", "ENDURO-1"), ("reject", "ENDURO-1", "--why", "No goal.")):
        done = orch(*command, cwd=world.root, environ=environ)
        assert (done.returncode, done.stdout) == (1, "")
        assert "this token speaks for nobody" in done.stderr
        assert "`:approved:`" in done.stderr
        assert "orch token create NAME --as LOGIN" in done.stderr


ANNA = Person(UserId(APPROVER), "anna", approver=True)
BORIS = Person(UserId("00000000-0000-4000-8000-00000000b0b0"), "boris")


def test_a_person_approves_from_a_terminal_with_a_token_of_their_own(tmp_path: Path, scripted: Path) -> None:
    with (
        World(tmp_path / "world", FIXTURES, people=(ANNA, BORIS)) as world,
        Service(world.root, world.settings(scripted), starter=warm.started) as service,
    ):
        world.connect(service)
        world.post_recorded(service, "issue__created__rest")
        with service.client() as client:
            at_rest(client)
            waits = only_task(client)
        assert '"approval"' in json.dumps(waits["waiting"])

        def as_whom(login: str) -> dict[str, str]:
            made = orch("token", "create", login, "--as", login, cwd=world.root, environ=service.environ)
            assert made.returncode == 0, made.stderr
            assert f"It speaks for {login}" in made.stderr
            return {"ORCH_SERVER": service.url, "ORCH_TOKEN": made.stdout.strip()}

        boris, anna = as_whom("boris"), as_whom("anna")
        refused = orch("approve", "ENDURO-1", cwd=world.root, environ=boris)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert "it needs operate" in refused.stderr
        agreed = orch("approve", "ENDURO-1", cwd=world.root, environ=anna)
        assert agreed.returncode == 0, agreed.stderr
        with service.client() as client:
            until(lambda: only_task(client)["stage"] == "architecture", "the approval opens the gate")
        [approval] = json.loads(orch("explain", "ENDURO-1", cwd=world.root, environ=anna).stdout)["approvals"]
        assert (approval["gate"], approval["person"]) == ("QG-1", APPROVER)


def test_a_token_is_made_for_a_person_of_the_file_alone(tmp_path: Path) -> None:
    (tmp_path / "orchestrator.yaml").write_text(
        f"projects: []\npeople:\n  - plane_user: {APPROVER}\n    gitea_login: anna\n    approver: true\n"
    )
    environ = {"ORCH_DATA_DIR": str(tmp_path / "data")}
    refused = orch("token", "create", "x", "--as", "mallory", cwd=tmp_path, environ=environ)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "gitea_login" in refused.stderr
    made = orch("token", "create", "x", "--as", "anna", "--json", cwd=tmp_path, environ=environ)
    shown = json.loads(made.stdout)
    assert (shown["scope"], shown["login"]) == ("operate", "anna"), "what the person may"
    [listed] = json.loads(orch("token", "list", cwd=tmp_path, environ=environ).stdout)
    assert (listed["name"], listed["login"]) == ("x", "anna")


def test_a_server_completes_keys_and_says_when_it_does_not_know_the_token_or_the_key(
    world: World, service: Service
) -> None:
    words = {"COMP_WORDS": "orch task END", "COMP_CWORD": "2", "_ORCH_COMPLETE": "complete_bash"}
    world.post_recorded(service, "issue__created__rest")
    with service.client() as client:
        until(lambda: only_task(client).get("key"), "the task has its key")
    right = {"ORCH_SERVER": service.url, "ORCH_TOKEN": API_TOKEN}
    assert orch_script("task", cwd=world.root, environ={**right, **words}) == "ENDURO-1\n"
    wrong = {"ORCH_SERVER": service.url, "ORCH_TOKEN": "wrong"}
    done = orch("status", cwd=world.root, environ=wrong)
    assert done.returncode == 3
    assert "ORCH_TOKEN" in done.stderr
    done = orch("logs", "NONE-1", cwd=world.root, environ=right)
    assert done.returncode == 4
    assert done.stderr == "There is no task NONE-1. `orch status` and `orch runs` show what there is.\n"


def test_explain_says_why_a_task_waits_who_can_help_and_since_when(world: World, service: Service) -> None:
    world.post_recorded(service, "issue__created__rest")
    with service.client() as client:
        at_rest(client)
        russian = client.get("/api/v1/tasks/ENDURO-1/explain", headers={"Accept-Language": "ru"}).json()
        assert client.get("/api/v1/tasks/ENDURO-1/explain", params={"lang": "xx"}).status_code == 422
        assert client.get("/api/v1/tasks/NONE-1/explain").status_code == 404
    environ = {**service.environ, "ORCH_PORT": service.url.rpartition(":")[2]}
    done = orch("explain", "ENDURO-1", cwd=world.root, environ=environ)
    shown = json.loads(done.stdout)
    assert (shown["key"], shown["stage"], shown["repo"]) == ("ENDURO-1", "analysis", "acme/enduro-trails")
    assert [(gate["gate"], gate["state"]) for gate in shown["gates"]][2:4] == [
        ("QG-2", "not_reached"),
        ("QG-3", "not_reached"),
    ]
    assert (shown["gates"][0]["state"], shown["gates"][0]["held"][0]["code"]) == ("open", "project_mapped")
    assert shown["unblock"][0]["who"]
    assert shown["unblock"][0]["age_s"] >= 0
    assert shown["limits"]["attempts"]["used"] <= shown["limits"]["attempts"]["limit"] == 3
    assert len(shown["decision"]["config_digest"]) == 64
    assert russian["gates"][0]["held"][0]["text"].startswith("проект")
    assert shown["gates"][0]["held"][0]["text"].startswith("the project")
    assert orch("explain", "NONE-1", cwd=world.root, environ=environ).returncode == 4
    assert orch("explain", "ENDURO-1", "--lang", "xx", cwd=world.root, environ=environ).returncode == 2


def test_every_decision_is_made_again_and_a_changed_one_is_named(world: World, service: Service) -> None:
    world.post_recorded(service, "issue__created__rest")
    with service.client() as client:
        at_rest(client)
    beside = orch("verify", cwd=world.root, environ=service.environ)
    assert (beside.returncode, beside.stdout.strip().endswith(" the same, 0 differ")) == (0, True), beside.stdout
    assert not beside.stdout.startswith("0 ")
    service.stop()
    assert orch("verify", "ENDURO-1", cwd=world.root, environ=service.environ).returncode == 0
    assert orch("verify", "NONE-1", cwd=world.root, environ=service.environ).returncode == 4
    with sqlite3.connect(world.root / "data" / "orchestrator.db") as database:
        database.execute("UPDATE decisions SET decision = replace(decision, 'analysis', 'ready') WHERE id = 2")
    database.close()
    done = orch("verify", "ENDURO-1", cwd=world.root, environ=service.environ)
    assert done.returncode == 1
    assert done.stdout.startswith("decision 2 of task 1, ")
    assert done.stdout.strip().endswith("1 differ")


def test_verify_without_a_database_makes_none(tmp_path: Path) -> None:
    done = orch("verify", cwd=tmp_path)
    assert done.returncode == 1
    assert "no database" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_nobody_there_is_said_with_what_to_do(tmp_path: Path) -> None:
    done = orch("status", cwd=tmp_path, environ={"ORCH_PORT": "9"})
    assert done.returncode == 1
    assert "orch serve" in done.stderr


def demo(tmp_path: Path, *arguments: str, source: Path | None = None) -> subprocess.Popen[str]:
    env = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "TMPDIR": str(tmp_path)}
    env |= {"PYTHONPATH": str(source)} if source else {}
    return subprocess.Popen(
        [*ORCH, "demo", *arguments],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=tmp_path,
    )


def ended_at(words: str, running: subprocess.Popen[str], then: Callable[[str], None] = lambda _line: None) -> str:
    """Told to end as soon as it says that. All that it said."""
    assert running.stdout is not None
    said = ""
    for line in running.stdout:
        said += line
        if words in line:
            then(line)
            running.send_signal(signal.SIGTERM)
            break
    return said + running.communicate(timeout=60)[0]


def answers(line: str) -> None:
    """Whoever is at the address that this line names."""
    address = re.search(r"http://127\.0\.0\.1:\d+", line)
    assert address, line
    for _ in range(3):
        assert httpx.get(f"{address[0]}/health").json()["status"] == "ok"
        time.sleep(0.2)  # what ended by itself would be gone by then


def assert_best_sandbox(said: str, folder: Path) -> None:
    """All agents ran in one level, the best one that the machine offers when it is tried from here."""
    pool = Pool(folder / "uids", *UIDS)
    best = Probe(folder / "data", pool, toolchains=(sys.prefix, sys.base_prefix)).measure(frozenset(Capability))
    shown = re.search(r"sandbox\W+(\w.*\w)", said.split("Summary")[1])
    assert shown, said
    assert shown[1] == str(best.sandbox), best.missing


def assert_whole_story(said: str) -> None:
    """Every gate opens, every cause sends the task back once, and nothing is left to anybody but a merge."""
    opened = [line.split("✔ ")[1][:4] for line in said.splitlines() if "✔ QG-" in line]
    assert list(dict.fromkeys(opened)) == [f"QG-{number}" for number in range(7)]
    assert all(f"{role} succeeded" in said for role in Role)
    assert [line.split("developer: ")[1] for line in said.splitlines() if "◄" in line] == [
        "the checks were red",
        "the review asked for changes",
        "the test failed",
    ]
    assert "ENDURO-1 is ready to merge" in said
    assert re.search(r"outcome\W+turns\W+tokens in \+ out\W+cost", said)
    total = re.search(r"(\d+) runs\W+(\d+)\W+(\d+) \+ (\d+)\W+\$(\d+\.\d{4})", said)
    assert total, said
    assert int(total[1]) >= len(Role)
    assert all(float(number) > 0 for number in total.groups())
    assert "yes" in said
    assert "NO " not in said


@pytest.fixture
def checkout_without_cli(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This checkout as it is where the CLI could not be installed."""
    root = tmp_path_factory.mktemp("checkout")
    shutil.copytree(ROOT / "src", root / "src")  # with what is compiled: it would be done again for each process
    (root / "tests").mkdir()
    (root / "tests" / "fixtures").symlink_to(ROOT / "tests" / "fixtures")
    return root


@pytest.mark.timeout(DEMO_LIMIT_S + 60)
def test_without_the_cli_the_demo_says_so_and_the_stand_in_brings_it_to_its_end_and_leaves_nothing(
    tmp_path: Path, checkout_without_cli: Path
) -> None:
    running = demo(tmp_path, "--keep", source=checkout_without_cli / "src")
    said = ended_at("Staying up", running, answers)
    assert running.returncode == 0, said
    missing = f"The Claude Code CLI is not at {checkout_without_cli}/.tools/claude or does not run there"
    assert missing in said.splitlines()[0]
    assert "make setup" in said.splitlines()[0]
    assert "All five agents: the scripted stand-in, 2.1.330" in said
    assert re.search(r"agents\W+the scripted stand-in, 2\.1\.330", said.split("Summary")[1])
    assert "issue__created__rest: 200 duplicate" in said
    assert_whole_story(said)
    assert not list(tmp_path.iterdir())
    assert_best_sandbox(said, tmp_path)
    assert not leftovers(str(tmp_path))


@pytest.mark.real_cli
@pytest.mark.timeout(DEMO_LIMIT_S + 60)
def test_the_demo_with_the_real_cli_names_it(tmp_path: Path, real_claude: Path) -> None:
    running = demo(tmp_path)
    said, _ = running.communicate(timeout=DEMO_LIMIT_S)
    assert running.returncode == 0, said
    assert "the real Claude Code CLI, 2.1.330" in said
    assert_whole_story(said)
    assert_best_sandbox(said, tmp_path)
    assert not leftovers(str(tmp_path))


@pytest.mark.timeout(DEMO_LIMIT_S + 60)
def test_a_demo_that_is_told_to_end_while_an_agent_works_leaves_nothing(tmp_path: Path) -> None:
    running = demo(tmp_path, "--scripted")
    said = ended_at("analyst starts", running)
    assert running.returncode == 0, said
    assert "analyst succeeded" not in said
    until(lambda: not leftovers(str(tmp_path)), "everything has ended")
    assert not list(tmp_path.iterdir())


def test_a_live_demo_without_an_account_says_what_is_needed(tmp_path: Path) -> None:
    done = orch("demo", "--live", cwd=tmp_path)
    assert done.returncode == 3
    assert "ORCH_CLAUDE_OAUTH_TOKEN" in done.stderr
