"""What folders hold and how they go, whatever an agent made of them; and a run that grows too large is stopped."""

import math
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.agents import disk, gauge, launcher, rundir, shim, supervise
from orchestrator.agents.folders import Room, RunFolders
from orchestrator.agents.launcher import ProcessLimits
from orchestrator.domain.errors import Transient
from orchestrator.domain.run import Outcome, RunLimits
from support import ROOT, until

MANY = 1 << 40


def nested(root: Path, levels: int) -> None:
    """Deeper than any path may be long."""
    root.mkdir()
    here = os.open(root, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir("d" * 200, dir_fd=here)
        inner = os.open("d" * 200, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    handle = os.open("f", os.O_WRONLY | os.O_CREAT, dir_fd=here)
    os.close(handle)
    os.close(here)


def test_what_is_there_is_counted_once_and_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/f").write_bytes(b"x" * 100_000)
    alone = gauge.used_bytes([tmp_path / "a"], MANY)
    assert 100_000 <= alone < 130_000
    os.link(tmp_path / "a/b/f", tmp_path / "a/hard")
    (tmp_path / "a/link").symlink_to("/")
    (tmp_path / "a/loop").symlink_to("..")
    assert gauge.used_bytes([tmp_path / "a"], MANY) - alone < 10_000
    assert gauge.used_bytes([tmp_path / "none"], MANY) == 0


def test_a_hole_is_not_counted_as_what_it_says_it_is(tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1 << 33)
    assert gauge.used_bytes([tmp_path], MANY) < 100_000


def test_a_look_ends_where_the_limit_is_passed_and_what_cannot_be_measured_is_too_much(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x" * 100_000)
    assert gauge.used_bytes([tmp_path], 50_000) > 50_000
    nested(tmp_path / "deep", 40)
    assert gauge.used_bytes([tmp_path / "deep"], MANY) == MANY + 1
    disk.throw_away(tmp_path / "deep", tmp_path / ".bin")
    assert not (tmp_path / "deep").exists()


HOSTILE: dict[str, Callable[[Path], object]] = {
    "deep": lambda root: nested(root, 1500),
    "a link to elsewhere": lambda root: (root.mkdir(), (root / "out").symlink_to(root.parent / "victim")),
    "a link itself": lambda root: root.symlink_to(root.parent / "victim"),
    "closed folders": lambda root: (
        (root / "a/b").mkdir(parents=True),
        (root / "a/b/f").touch(),
        (root / "a/b").chmod(0),
        (root / "a").chmod(0),
    ),
    "a pipe and odd names": lambda root: (
        root.mkdir(),
        os.mkfifo(root / "pipe"),
        (root / os.fsdecode(b"\xff\n")).mkdir(),
        (root / "-rf").touch(),
    ),
    "nothing": lambda root: None,
}


@pytest.mark.parametrize("kind", sorted(HOSTILE))
def test_every_folder_goes_and_nothing_else(tmp_path: Path, kind: str) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "mine").write_text("mine")
    HOSTILE[kind](tmp_path / "root")
    disk.throw_away(tmp_path / "root", tmp_path / ".bin")
    assert not os.path.lexists(tmp_path / "root")
    assert list((tmp_path / ".bin").iterdir()) == []
    assert (victim / "mine").read_text() == "mine"


def test_what_a_killed_removal_left_goes_with_the_next(tmp_path: Path) -> None:
    (tmp_path / ".bin/half/inner").mkdir(parents=True)
    disk.throw_away(tmp_path / "none", tmp_path / ".bin")
    assert list((tmp_path / ".bin").iterdir()) == []


FREE = (
    "import sys; sys.path.insert(0, sys.argv[1])\n"
    "from pathlib import Path; from orchestrator.agents import gauge\n"
    "place = Path(sys.argv[2])\n"
    "print(gauge.free_bytes(place))\n"
    "(place / 'large').write_bytes(b'x' * 409_600); print(gauge.free_bytes(place))\n"
    "for number in range(50): (place / str(number)).touch()\n"
    "print(gauge.free_bytes(place))\n"
)
OWN_DISK = 'mount -t tmpfs -o size=1m,nr_inodes=100 none "$1" && exec "$2" -c "$3" "$4" "$1"'


def test_room_is_what_the_file_system_has_left_in_blocks_and_in_files(tmp_path: Path) -> None:
    """On one of its own, since others write to that of the tests."""
    words = ["sh", "-c", OWN_DISK, "sh", str(tmp_path), sys.executable, FREE, str(ROOT / "src")]
    done = subprocess.run(["unshare", "-rm", *words], capture_output=True, text=True, check=False)
    if "mount" in done.stderr or "unshare" in done.stderr:
        pytest.skip(f"no file system can be mounted here: {done.stderr[:100]}")
    whole, after_one, after_all = map(int, done.stdout.split())
    assert 1_000_000 < whole <= 2**20 + 100 * 512
    assert whole - after_one == 409_600 + 512
    assert after_one - after_all == 50 * 512, "files of no bytes take room, too"


class Turning:
    """A clock and a disk in the hands of the test: each look at the clock takes as long as it says."""

    def __init__(self) -> None:
        self.now, self.each_s, self.free = 1000.0, 0.0, MANY

    def __call__(self) -> float:
        self.now += self.each_s
        return self.now


def test_a_folder_is_looked_at_again_as_soon_as_the_disk_lost_what_could_be_too_much(tmp_path: Path) -> None:
    """Though the last look was so long that the next one is far away."""
    clock = Turning()
    one = gauge.Gauge([tmp_path], 300_000, lambda: clock.free, clock)
    clock.each_s = 0.9
    assert not one.is_over()
    clock.each_s, grew = 0.0, clock.now
    (tmp_path / "f").write_bytes(b"x" * 400_000)
    clock.free -= 290_000
    clock.now += 5
    assert not one.is_over(), "what the disk lost is not enough: not looked at"
    clock.free -= 110_000
    clock.now = grew + 0.1
    assert not one.is_over(), "never more than half of the time"
    clock.now = grew + gauge.pause_s(1.0)
    assert one.is_over()
    assert one.late_s() >= gauge.pause_s(1.0), "it grew behind the last look, and may have done so since its begin"


def test_a_folder_that_grows_while_others_make_room_is_looked_at_all_the_same(tmp_path: Path) -> None:
    clock = Turning()
    one = gauge.Gauge([tmp_path], 300_000, lambda: clock.free, clock)
    clock.each_s = 1.0
    assert not one.is_over()
    clock.each_s = 0.0
    (tmp_path / "f").write_bytes(b"x" * 400_000)
    clock.now += 15
    assert not one.is_over()
    clock.now += 10
    assert one.is_over()


class Deaf:
    """In the place of an agent that heeds no signal, it notes how long each step waits for it."""

    pid = 0

    def __init__(self) -> None:
        self.waited: list[float] = []

    def send(self, number: int) -> None:
        pass

    def ended_within(self, pause_s: float) -> bool:
        self.waited.append(pause_s)
        return False


def test_the_time_that_looking_took_is_taken_from_the_ladder(tmp_path: Path) -> None:
    limits = RunLimits(timeout_s=600, max_turns=1, max_budget_usd=1)
    raw = launcher.spec_bytes(tmp_path, ["agent"], {}, limits, ProcessLimits(interrupt_s=3, terminate_s=5))
    meter = supervise._Meter(shim.Spec(raw), began=1000.0)
    clock = Turning()
    meter.gauge = gauge.Gauge([tmp_path], 1, lambda: 0, clock)
    clock.now += 3.5
    for why, steps in ((supervise.DISK_FULL, [3, 1.5]), (supervise.STALLED, [3, 5])):
        agent: Any = Deaf()
        supervise._climb(agent, meter, why)
        assert agent.waited == steps
    clock.now += 60
    supervise._climb(agent, meter, supervise.DISK_FULL)
    assert agent.waited[-1] == 0


@pytest.mark.parametrize("count", [1000, pytest.param(100_000, marks=pytest.mark.nightly)])
def test_of_many_small_files_too_many_are_seen_long_before_the_next_look_without_a_reason(
    tmp_path: Path, count: int
) -> None:
    """Real looks on a real clock; what the disk lost is told by the test, since others write to it as well."""
    lost = 0
    for number in range(count):
        (tmp_path / f"{number}").write_bytes(b"x")
    most = gauge.used_bytes([tmp_path], MANY) + 500_000
    one = gauge.Gauge([tmp_path], most, lambda: MANY - lost)
    assert not one.is_over()
    one._latest = math.inf
    (tmp_path / "more").write_bytes(b"x" * 600_000)
    lost = 600_000
    until(one.is_over, "it is seen", 300)


def nothing(_usage: object) -> None:
    return


async def test_a_run_that_fills_its_folder_is_stopped(world: Any) -> None:
    body = "n = 0\nwhile True:\n    open(f'f{n}', 'wb').write(b'x' * 1_000_000); n += 1; time.sleep(0.01)\n"
    claude, spec = world.runtime(world.agent(body)), world.spec()
    claude.limits = replace(claude.limits, disk_max_bytes=5_000_000)
    await claude.prepare(spec)
    await claude.launch(spec)
    result = await claude.wait(spec, nothing)
    assert (result.outcome, result.reason) == (Outcome.FAILED, "disk_full")
    assert world.living() == []


async def test_no_run_begins_while_all_hold_too_much(world: Any) -> None:
    claude, spec = world.runtime(world.agent("pass")), world.spec()
    claude.room = Room(most_bytes=1000, used_bytes=1001)
    with pytest.raises(Transient) as error:
        await claude.prepare(spec)
    assert (error.value.code, error.value.retry_after_s) == ("runs_disk_full", 60.0)
    assert not world.paths(spec).root.exists()
    claude.room.measured(1000)
    await claude.prepare(spec)
    assert world.paths(spec).prepared.exists()


def test_a_folder_keeps_its_logs_unless_all_of_it_goes(world: Any) -> None:
    folders, spec = RunFolders(world.data_dir), world.spec()
    world.workspaces().prepare(spec)
    paths = world.paths(spec)
    paths.log.write_text("log")
    ((run, (bulk, whole)),) = folders.sizes().items()
    assert (run, 0 < bulk < whole) == (spec.run, True)
    folders.discard(run, is_whole=False)
    assert paths.log.read_text() == "log"
    assert not paths.workspace.exists()
    assert not paths.home.exists()
    assert folders.sizes()[run][0] == 0
    folders.discard(run, is_whole=True)
    assert folders.sizes() == {}
    assert not paths.root.exists()


def test_a_run_that_may_be_alive_is_never_removed(world: Any) -> None:
    folders, spec = RunFolders(world.data_dir), world.spec()
    world.workspaces().prepare(spec)
    with rundir.holding(world.paths(spec).lock):
        folders.discard(spec.run, is_whole=True)
        assert world.paths(spec).workspace.exists()


def test_twenty_workspaces_are_made_and_removed_at_once_on_one_mirror(
    world: Any, run_git: Callable[..., str]
) -> None:
    """F26: no lock of git is met, and each is whole."""
    workspaces, folders = world.workspaces(), RunFolders(world.data_dir)
    specs = [world.spec(number) for number in range(1, 21)]

    def make_and_remove(spec: Any) -> str:
        workspaces.prepare(spec)
        there = world.paths(spec).workspace
        (there / "new").write_text(str(spec.run))
        run_git("add", "new", cwd=there)
        run_git("commit", "-q", "-m", "work", cwd=there)
        head = world.collect(spec, workspaces)
        folders.discard(spec.run, is_whole=spec.run % 2 == 0)
        return str(head)

    with ThreadPoolExecutor(20) as pool:
        heads = list(pool.map(make_and_remove, specs))
    mirror = world.data_dir / "mirrors/acme/shop.git"
    refs = run_git("for-each-ref", "--format=%(objectname)", "refs/orch/runs", cwd=mirror).split()
    assert sorted(refs) == sorted(heads)
    assert len(set(heads)) == 20
    assert run_git("fsck", "--full", "--strict", cwd=mirror) == ""
    assert [path.name for path in (world.data_dir / "runs").glob("*/workspace")] == []
    assert not list(mirror.rglob("*.lock"))
