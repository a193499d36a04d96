"""One contract for both programs: the real Claude Code CLI and the scripted one must behave alike."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from orchestrator.agents import verdict
from orchestrator.domain.roles import Language, Role
from orchestrator.sim import claude
from orchestrator.sim.messages_api import create_app
from orchestrator.sim.script import Assignment, ScenarioName, Write, steps
from orchestrator.sim.server import LoopbackServer
from orchestrator.sim.wrapper import write_wrapper

ROOT = Path(__file__).parents[2]
REAL = ROOT / ".tools" / "claude"
RECORDINGS = ROOT / "tests" / "fixtures" / "claude"
SESSION = "61f5cf0c-1556-4498-a782-ec9aaa8e1c8d"
RUN = "61f5cf0c-1556-4498-a782-ec9aaa8e1c8c"
PERSON = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "Analyst"), ("EMAIL", "analyst@example.org"))
}
QUIET = dict.fromkeys(
    (
        "DISABLE_TELEMETRY",
        "DISABLE_AUTOUPDATER",
        "DISABLE_ERROR_REPORTING",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC",
        "CLAUDE_CODE_DISABLE_BACKGROUND_TASKS",
        "CLAUDE_CODE_DISABLE_CLAUDE_MDS",
    ),
    "1",
)
WAIT_S = 60.0
SCHEMA = verdict.schema(Role.REVIEWER) or ""

Record = dict[str, Any]


def flags(role_file: Path, session: str = SESSION) -> list[str]:
    """The launch line of the contract."""
    return [
        *("-p", "--input-format", "stream-json", "--output-format", "stream-json", "--verbose"),
        *("--session-id", session, "--setting-sources", "", "--strict-mcp-config", "--disable-slash-commands"),
        *("--tools", "Bash,Read,Write,Edit,Glob,Grep", "--permission-mode", "dontAsk"),
        *("--permission-prompts", "none", "--allowedTools", "Bash Read(./**) Edit(./**) Write(./**)"),
        *("--append-system-prompt-file", str(role_file), "--model", "sonnet"),
        *("--max-turns", "60", "--max-budget-usd", "5"),
    ]


def git(repo: Path, *arguments: str) -> str:
    command = ["git", "-C", str(repo), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, env=environment(repo.parent)).stdout


def environment(home: Path) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8", "TERM": "dumb", **PERSON}


def make_repository(folder: Path) -> Path:
    repo = folder / "repo"
    repo.mkdir()
    git(repo, "init", "-q", "-b", "feature/ENDURO-1")
    git(repo, "commit", "-q", "--allow-empty", "-m", "base")
    (repo / ".git" / "info" / "exclude").write_text(".task.md\n")
    (repo / ".task.md").write_text("# Task\n\nTitle: Change the `button`; $(touch broken)\n")
    return repo


@dataclass
class Finished:
    exit_code: int
    stdout: str
    stderr: str

    @property
    def records(self) -> list[Record]:
        return [json.loads(line) for line in self.stdout.splitlines()]

    @property
    def last(self) -> Record:
        return self.records[-1]


class Program:
    """A `claude` in a folder of its own: a repository, a home, stdout to a file as the launcher has it."""

    def __init__(self, folder: Path, executable: Path, prompt: str, extra: dict[str, str]) -> None:
        self.folder, self.executable = folder, executable
        self.home = folder / "home"
        self.home.mkdir()
        self.repo = make_repository(folder)
        self.role = folder / "role.md"
        self.role.write_text("You are the analyst.\n")
        message = {"role": "user", "content": [{"type": "text", "text": prompt}]}
        self.stdin = json.dumps({"type": "user", "client_composed": True, "message": message}) + "\n"
        self.environment = {**environment(self.home), **QUIET, **extra}

    def start(self, arguments: list[str] | None = None) -> subprocess.Popen[bytes]:
        (self.folder / "in").write_text(self.stdin)
        with (
            (self.folder / "in").open("rb") as given,
            (self.folder / "out").open("wb") as out,
            (self.folder / "err").open("wb") as err,
        ):
            command = [str(self.executable), *(flags(self.role) if arguments is None else arguments)]
            return subprocess.Popen(
                command,
                cwd=self.repo,
                env=self.environment,
                stdin=given,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )

    def finish(self, process: subprocess.Popen[bytes]) -> Finished:
        code = process.wait(WAIT_S)
        return Finished(code, (self.folder / "out").read_text(), (self.folder / "err").read_text())

    def run(self, arguments: list[str] | None = None) -> Finished:
        return self.finish(self.start(arguments))

    def working_here(self) -> set[int]:
        return working_in(self.repo)

    def wait_for(self, holds: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + WAIT_S
        while not holds():
            assert time.monotonic() < end, f"{what} did not happen in {WAIT_S} s"
            time.sleep(0.02)

    def wait_for_the_long_tool(self) -> None:
        """One that has just been started does not count: the CLI, interrupted at that very moment, at times ends
        without a result record.
        """
        self.wait_for(
            lambda: any(is_sleep(pid) and has_settled(pid) for pid in self.working_here()), "the long tool"
        )


def has_settled(pid: int) -> bool:
    """It is a second old by the kernel's clock, in ticks since the machine began."""
    with suppress(OSError):
        began = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
        return time.clock_gettime(time.CLOCK_BOOTTIME) > began / os.sysconf("SC_CLK_TCK") + 1
    return False


def working_in(folder: Path) -> set[int]:
    """Every process whose working directory this is, however it was started."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (entry / "cwd").readlink() == folder:
                found.add(int(entry.name))
    return found


@pytest.fixture(autouse=True)
def _nothing_is_left_running(tmp_path: Path) -> Iterator[None]:
    """Also when a test fails half-way."""
    yield
    for pid in working_in(tmp_path / "repo"):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def is_sleep(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"sleep\0")
    return False


Make = Callable[..., Program]

REAL_CLI = pytest.param("real", marks=pytest.mark.real_cli)


@pytest.fixture(params=[REAL_CLI, "scripted"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    """Makes the program that plays a scenario: the real CLI against the scripted API, or the scripted CLI."""
    if request.param == "real" and not REAL.exists():
        pytest.skip("the Claude Code CLI is not installed (.tools/claude): run make setup")
    with LoopbackServer(create_app()) as api:

        def make_one(scenario: str = "work", credential: str = "ANTHROPIC_API_KEY") -> Program:
            prompt = f"Task: ENDURO-1 | Role: analyst | Run: {RUN}\nLanguage: en\n"
            if request.param == "real":
                named = {"limit": "usage_limit"}.get(scenario, scenario)
                extra = {"ANTHROPIC_BASE_URL": api.url, credential: "throw-away", "CLAUDE_CODE_MAX_RETRIES": "1"}
                return Program(tmp_path, REAL, f"{prompt}Scenario: {named}\n\nWrite the BRD.", extra)
            wrapper = write_wrapper(tmp_path / "claude", scenario)
            return Program(tmp_path, wrapper, f"{prompt}\nWrite the BRD.", {})

        yield make_one


def tool_calls(records: list[Record]) -> list[Record]:
    blocks = [record["message"]["content"][0] for record in records if record["type"] == "assistant"]
    return [block for block in blocks if block["type"] == "tool_use"]


def test_a_good_run_commits_its_document_and_meets_the_success_rule(make: Make) -> None:
    program = make()
    base = git(program.repo, "rev-parse", "HEAD")
    done = program.run()
    assert done.exit_code == 0, done.stderr + done.stdout[-2000:]
    assert_the_document_is_committed(program, base)
    assert_the_success_rule_is_met(done)


def assert_the_document_is_committed(program: Program, base: str) -> None:
    assert git(program.repo, "rev-parse", "HEAD^") == base
    assert git(program.repo, "show", "--name-only", "--format=%an %ae %s", "HEAD").split("\n\n") == [
        "Analyst analyst@example.org ENDURO-1: BRD.md",
        "tasks/ENDURO-1/BRD.md\n",
    ]
    assert git(program.repo, "status", "--porcelain") == ""
    assert not (program.repo / "broken").exists()
    assignment = Assignment("ENDURO-1", Role.ANALYST, RUN, Language.EN)
    script = steps(assignment, ScenarioName.WORK, str(program.repo), [(program.repo / ".task.md").read_text()])
    wanted = next(step for step in script if isinstance(step, Write))
    assert git(program.repo, "show", "HEAD:tasks/ENDURO-1/BRD.md") == wanted.content


def assert_the_success_rule_is_met(done: Finished) -> None:
    records = done.records
    assert (records[0]["type"], records[0]["subtype"]) == ("system", "init")
    assert {record["type"] for record in records} >= {"system", "assistant", "user", "result"}
    assert {record["session_id"] for record in records} == {SESSION}
    assert [call["name"] for call in tool_calls(records)] == ["Read", "Write", "Bash"]
    result = done.last
    assert (result["type"], result["subtype"], result["is_error"]) == ("result", "success", False)
    assert (result["terminal_reason"], result["num_turns"]) == ("completed", 4)
    assert result["permission_denials"] == []
    assert result["result"] == "tasks/ENDURO-1/BRD.md is written."
    assert result["total_cost_usd"] == pytest.approx(0.0276, rel=0.2)
    assert result["usage"]["input_tokens"] == 11_000
    assert result["usage"]["output_tokens"] > 0
    assert list(result["modelUsage"]) == ["claude-sonnet-5-5"]
    assert records[0]["model"] == "claude-sonnet-5-5"
    assert set(records[0]["tools"]) == {"Bash", "Edit", "Glob", "Grep", "Read", "Write"}


def test_a_run_may_end_well_without_a_commit_and_its_session_id_is_accepted_once(make: Make) -> None:
    program = make("no_commit")
    base = git(program.repo, "rev-parse", "HEAD")
    done = program.run()
    assert (done.exit_code, done.last["is_error"]) == (0, False)
    assert git(program.repo, "rev-parse", "HEAD") == base
    assert (program.repo / "tasks/ENDURO-1/BRD.md").is_file()
    again = program.run()
    assert (again.exit_code, again.stdout) == (1, "")
    assert "already in use" in again.stderr


Judged = Callable[..., Finished]


@pytest.fixture(params=[REAL_CLI, "scripted"])
def judged(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Judged]:
    """A reviewer's run with a schema, played by either program."""
    if request.param == "real" and not REAL.exists():
        pytest.skip("the Claude Code CLI is not installed (.tools/claude): run make setup")
    with LoopbackServer(create_app()) as api:

        def run(scenario: str) -> Finished:
            prompt = f"Task: ENDURO-1 | Role: reviewer | Run: {RUN}\nLanguage: en\n"
            if request.param == "real":
                extra = {"ANTHROPIC_BASE_URL": api.url, "ANTHROPIC_API_KEY": "throw-away"}
                program = Program(tmp_path, REAL, f"{prompt}Scenario: {scenario}\n\nReview.", extra)
            else:
                program = Program(tmp_path, write_wrapper(tmp_path / "claude", scenario), prompt, {})
            return program.run([*flags(program.role), "--json-schema", SCHEMA])

        yield run


def test_a_verdict_is_the_result_records_structured_output(judged: Judged) -> None:
    done = judged("work")
    assert done.exit_code == 0, done.stderr + done.stdout[-2000:]
    last = done.last
    assert (last["subtype"], last["is_error"], last["terminal_reason"]) == ("success", False, "completed")
    assert (last["structured_output"]["verdict"], last["structured_output"]["findings"]) == ("approved", [])
    assert [call["name"] for call in tool_calls(done.records)] == ["Read", "Read", "StructuredOutput"]
    assert last["stop_reason"] == "tool_use"


def test_words_alone_end_well_without_structured_output(judged: Judged) -> None:
    done = judged("no_verdict")
    assert (done.exit_code, done.last["subtype"], done.last["is_error"]) == (0, "success", False)
    assert done.last.get("structured_output") is None
    assert "approved" in done.last["result"]


def test_an_answer_of_another_shape_is_refused_five_times(judged: Judged) -> None:
    done = judged("bad_verdict")
    last = done.last
    assert (done.exit_code, last["is_error"]) == (1, True)
    assert last["subtype"] == "error_max_structured_output_retries"
    assert last["terminal_reason"] == "structured_output_retry_exhausted"
    assert [call["name"] for call in tool_calls(done.records)][2:] == ["StructuredOutput"] * 5


def test_a_used_up_window_ends_the_run_and_names_its_reset_time(make: Make) -> None:
    done = make("limit", credential="CLAUDE_CODE_OAUTH_TOKEN").run()
    event = next(record for record in done.records if record["type"] == "rate_limit_event")
    assert event["rate_limit_info"]["status"] == "rejected"
    assert event["rate_limit_info"]["rateLimitType"] == "five_hour"
    assert isinstance(event["rate_limit_info"]["resetsAt"], int)
    last = done.last
    assert (done.exit_code, last["is_error"], last["terminal_reason"]) == (1, True, "api_error")
    assert (last["api_error"], last["api_error_status"]) == ("usage_limit_reached", 429)


def test_sigterm_ends_the_run_and_its_tool_with_143_and_no_result(make: Make) -> None:
    program = make("long_tool")
    process = program.start()
    program.wait_for_the_long_tool()
    process.terminate()
    process.wait(WAIT_S)
    program.wait_for(lambda: not program.working_here(), "the end of the tool")
    done = program.finish(process)
    assert done.exit_code == 143
    assert "result" not in {record["type"] for record in done.records}


def test_sigint_ends_the_run_with_a_result_that_says_so(make: Make) -> None:
    program = make("long_tool")
    process = program.start()
    program.wait_for_the_long_tool()
    process.send_signal(signal.SIGINT)
    process.wait(WAIT_S)
    program.wait_for(lambda: not program.working_here(), "the end of the tool")
    done = program.finish(process)
    assert done.exit_code == 0
    assert (done.last["subtype"], done.last["is_error"]) == ("error_during_execution", True)
    assert done.last["terminal_reason"] == "aborted_tools"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda found: [*found, "--no-such-flag"],
        lambda found: [flag for flag in found if flag != "--verbose"],
        lambda found: [flag if flag != SESSION else "not-a-uuid" for flag in found],
    ],
    ids=["unknown flag", "not verbose", "bad session id"],
)
def test_bad_flags_end_with_one_reason_and_no_record(make: Make, spoil: Callable[[list[str]], list[str]]) -> None:
    program = make()
    done = program.run(spoil(flags(program.role)))
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.strip()


def test_an_empty_stdin_ends_with_exit_code_0_and_no_record_at_all(make: Make) -> None:
    program = make()
    program.stdin = ""
    done = program.run()
    assert (done.exit_code, done.stdout) == (0, "")


def scripted(folder: Path, scenario: str, ledger: Path | None = None) -> Program:
    wrapper = write_wrapper(folder / "claude", scenario, ledger)
    prompt = f"Task: ENDURO-1 | Role: analyst | Run: {RUN}\nLanguage: en\n\nWrite the BRD."
    return Program(folder, wrapper, prompt, {})


@pytest.mark.parametrize(("scenario", "code"), [("fail", 1), ("limit", 1), ("work", 0), ("slow:0.01", 0)])
def test_the_scripted_records_hold_only_recorded_fields(tmp_path: Path, scenario: str, code: int) -> None:
    known = recorded_fields()
    done = scripted(tmp_path, scenario).run()
    assert done.exit_code == code
    for record in done.records:
        assert set(record) <= known[record["type"], record.get("subtype")], record


@pytest.mark.parametrize("scenario", ["work", "bad_verdict", "no_verdict"])
def test_the_scripted_verdict_records_hold_only_recorded_fields(tmp_path: Path, scenario: str) -> None:
    known = recorded_fields()
    wrapper = write_wrapper(tmp_path / "claude", scenario)
    program = Program(tmp_path, wrapper, f"Task: ENDURO-1 | Role: reviewer | Run: {RUN}\nLanguage: en\n", {})
    for record in program.run([*flags(program.role), "--json-schema", SCHEMA]).records:
        assert set(record) <= known[record["type"], record.get("subtype")], record


def recorded_fields() -> dict[tuple[str, str | None], set[str]]:
    found: dict[tuple[str, str | None], set[str]] = {}
    for path in RECORDINGS.glob("*.jsonl"):
        for line in path.read_text().splitlines():
            record = json.loads(line)
            found.setdefault((record["type"], record.get("subtype")), set()).update(record)
    assert found
    return found


def test_a_failing_run_says_success_and_is_error(tmp_path: Path) -> None:
    last = scripted(tmp_path, "fail").run().last
    assert (last["subtype"], last["is_error"], last["terminal_reason"]) == ("success", True, "api_error")


def test_a_crash_leaves_no_result(tmp_path: Path) -> None:
    done = scripted(tmp_path, "crash").run()
    assert done.exit_code == 7
    assert [record["type"] for record in done.records] == ["system"]


def test_a_hanging_run_ignores_everything_but_sigkill(tmp_path: Path) -> None:
    program = scripted(tmp_path, "hang")
    process = program.start()
    ignored = {signal.SIGTERM, signal.SIGINT}
    program.wait_for(lambda: ignored <= ignored_by(process.pid), "ignoring of the signals")
    process.terminate()
    process.send_signal(signal.SIGINT)
    program.wait_for(lambda: not ignored & pending_at(process.pid), "delivery of the signals")
    assert process.poll() is None
    process.kill()
    assert process.wait(WAIT_S) == -signal.SIGKILL


def ignored_by(pid: int) -> set[int]:
    return signals_in(pid, "SigIgn")


def pending_at(pid: int) -> set[int]:
    return signals_in(pid, "SigPnd") | signals_in(pid, "ShdPnd")


def signals_in(pid: int, name: str) -> set[int]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    mask = int(next(line for line in lines if line.startswith(name)).split()[1], 16)
    return {number for number in range(1, 65) if mask >> (number - 1) & 1}


def test_a_forking_run_leaves_a_process_in_a_session_of_its_own(tmp_path: Path) -> None:
    program = scripted(tmp_path, "fork_daemon")
    process = program.start()
    assert process.wait(WAIT_S) == 0
    (left,) = program.working_here()
    assert is_sleep(left)
    assert os.getsid(left) == left


def test_the_ledger_counts_starts_even_of_a_refused_session(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    program = scripted(tmp_path, "no_commit", ledger)
    pids = []
    for code in (0, 1):
        process = program.start()
        pids.append(process.pid)
        assert program.finish(process).exit_code == code
    assert ledger.read_text().splitlines() == [f"{SESSION} {pid}" for pid in pids]


def test_a_hostile_working_directory_is_not_imported(tmp_path: Path) -> None:
    program = scripted(tmp_path, "work")
    trap = f"open({str(tmp_path / 'trapped')!r}, 'w')\n"
    (program.repo / "json.py").write_text(trap)
    (program.repo / "orchestrator").mkdir()
    (program.repo / "orchestrator" / "__init__.py").write_text(trap)
    assert program.run().exit_code == 0
    assert not (tmp_path / "trapped").exists()


def test_the_version_names_the_stand_in(tmp_path: Path) -> None:
    wrapper = write_wrapper(tmp_path / "a 'quoted' name")
    done = subprocess.run([str(wrapper), "--version"], check=True, capture_output=True, text=True)
    assert done.stdout == "2.1.330 (scripted stand-in)\n"


@pytest.mark.real_cli
def test_the_real_version_is_the_pinned_one() -> None:
    if not REAL.exists():
        pytest.skip("the Claude Code CLI is not installed (.tools/claude): run make setup")
    done = subprocess.run([str(REAL), "--version"], check=True, capture_output=True, text=True)
    assert done.stdout.split()[0] == claude.VERSION.split()[0]


def test_an_unknown_scenario_makes_no_wrapper(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="known are"):
        write_wrapper(tmp_path / "claude", "http_401")
    assert not (tmp_path / "claude").exists()


def test_the_scripted_claude_loads_nothing_that_takes_longer_than_a_run() -> None:
    dear = {"starlette", "uvicorn", "httpx", "argparse", "dataclasses", "inspect", "pathlib", "subprocess"}
    source = str(ROOT / "src")
    code = f"import sys; sys.path.insert(0, {source!r}); import orchestrator.sim.claude; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], check=True, capture_output=True, text=True)
    loaded = set(done.stdout.split())
    assert "orchestrator.sim.claude" in loaded
    assert not dear & loaded
