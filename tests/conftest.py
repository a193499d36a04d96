"""Shared by all tests. TESTS_MAY_NOT_SKIP=1 (set in CI) turns every skip into a failure."""

import gc
import os
import random
from collections.abc import Generator, Iterator
from datetime import UTC, datetime, timedelta
from itertools import chain
from pathlib import Path

import hypothesis
import pytest
import structlog

import counted
import warm
from orchestrator.db import Database
from orchestrator.sim.world import Service, World
from orchestrator.sim.wrapper import write_wrapper
from support import FIXTURES, ROOT

gc.disable()  # what is imported and collected stays; to look for garbage in it takes a third of that time
CLAUDE = ROOT / ".tools" / "claude"
TESTS = ROOT / "tests"
LONG = frozenset({"chaos", "stories", "properties", "e2e"})
"""Folders whose tests take seconds, not milliseconds."""
LONGEST = frozenset({"chaos", "properties"})
"""Half a minute and more: they come first."""
structlog.configure(
    processors=[
        *structlog.get_config()["processors"][:-1],
        structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
    ]
)
"""Where a test leaves it as it is: to colour a traceback with all its variables takes a second."""
hypothesis.settings.register_profile("untimed", deadline=None)  # timing decides no test
hypothesis.settings.register_profile(
    "mutants",  # `make mutate`: that an example fails is enough, nobody reads the smallest one
    deadline=None,
    derandomize=True,
    database=None,
    phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
)
hypothesis.settings.load_profile("untimed")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Each worker begins with its share of the long tests, mixed, and ends with short ones: what is left at the
    end can be shared, so no core waits for somebody's last story. Workers have to agree: nothing is by chance.
    """
    count = getattr(config, "workerinput", {}).get("workercount", 1)
    if count == 1:
        return
    long = [one for one in items if one.path.relative_to(TESTS).parts[0] in LONG]
    short = [one for one in items if one.path.relative_to(TESTS).parts[0] not in LONG]
    random.Random(1).shuffle(long)
    long.sort(key=lambda one: one.path.relative_to(TESTS).parts[0] not in LONGEST)
    share = -(-len(short) // count)
    items[:] = [
        one
        for worker in range(count)
        for one in (*long[worker::count], *short[worker * share : (worker + 1) * share])
    ]


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    gc.enable()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    counted.keep_in(report)
    if report.skipped and os.environ.get("TESTS_MAY_NOT_SKIP") and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped, which is not allowed here: {call.excinfo}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """A whole file that skips itself (importorskip) is reported here, and nowhere above."""
    report = yield
    if report.skipped and os.environ.get("TESTS_MAY_NOT_SKIP"):
        report.outcome = "failed"
        report.longrepr = f"{collector.nodeid} was skipped, which is not allowed here: {report.longrepr}"
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What proofs counted; pytest itself shows nothing of a test that passed."""
    if found := list(counted.lines(chain.from_iterable(terminalreporter.stats.values()))):
        terminalreporter.section("what was counted")
        for line in found:
            terminalreporter.line(line)


class FakeClock:
    """A clock that moves only when told to."""

    def __init__(self) -> None:
        self.at = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
        self.ticks = 0.0

    def now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        return self.ticks

    def advance(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)
        self.ticks += seconds


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """A real, migrated SQLite file."""
    opened = Database(f"sqlite:///{tmp_path / 'test.db'}", wait_s=0.5)
    opened.open()
    yield opened
    opened.close()


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """A developer's own ORCH_ variables must not decide a test."""
    for name in [name for name in os.environ if name.startswith("ORCH_") and not name.startswith("ORCH_TEST_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Plane, Gitea and the Messages API on loopback."""
    with World(tmp_path / "world", FIXTURES) as one:
        yield one


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    """One line for each start of the scripted agent."""
    return tmp_path / "ledger"


@pytest.fixture
def scripted(tmp_path: Path, ledger: Path) -> Path:
    return write_wrapper(tmp_path / "claude", ledger=ledger)


@pytest.fixture
def real_claude() -> Path:
    if not CLAUDE.exists():
        pytest.skip("the Claude Code CLI is not installed (.tools/claude): run make setup")
    return CLAUDE


@pytest.fixture
def service(world: World, scripted: Path) -> Iterator[Service]:
    """A running orchestrator that knows the world, with the scripted agent."""
    with Service(world.root, world.settings(scripted), starter=warm.started) as one:
        world.connect(one)
        yield one
