"""What an agent gets through, at every level of this machine and with older kinds of Landlock: exactly what
docs/explanation/sandbox.md says. The attacks are in `attacker.py`, what is expected in `expected.py`."""

import importlib.util
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import counted
from orchestrator.agents import launcher, rundir
from orchestrator.agents.launcher import ApiRoute, Credential, ProcessLimits
from orchestrator.agents.probe import Measured, Probe, landlock_abi
from orchestrator.agents.rundir import RunPaths
from orchestrator.agents.sandbox import LANDLOCK_TCP_ABI, Capability, Sandbox
from orchestrator.agents.sandboxes import Sandboxes, Wish
from orchestrator.agents.uids import Pool
from orchestrator.domain.errors import Transient
from orchestrator.domain.run import RunLimits
from support import ROOT, until

HERE = Path(__file__).parent
DOCUMENT = ROOT / "docs" / "explanation" / "sandbox.md"
PYTHON = Path("/usr/bin/python3" if Path("/usr/bin/python3").exists() else sys.executable).resolve()
UIDS = (64300, 64309)
SOMEBODY = 64350
AS_SOMEBODY: dict[str, Any] = {"user": SOMEBODY, "group": SOMEBODY, "extra_groups": []}
VICTIM = """
import ctypes, sys
held = ctypes.create_string_buffer(b'SECRET')
print(ctypes.addressof(held), flush=True)
sys.stdin.read()
"""
LEVELS = {
    "none": Sandbox(),
    "landlock": Sandbox(landlock_abi=7),
    "landlock+user": Sandbox(landlock_abi=7, has_user=True),
    "landlock+bwrap": Sandbox(landlock_abi=7, has_bwrap=True),
    "landlock+user+bwrap": Sandbox(landlock_abi=7, has_user=True, has_bwrap=True),
}
WITHOUT_LANDLOCK = {
    "user": Sandbox(has_user=True),
    "bwrap": Sandbox(has_bwrap=True),
    "user+bwrap": Sandbox(has_user=True, has_bwrap=True),
}
ALL = LEVELS | WITHOUT_LANDLOCK
OLDER = (6, 4, 2)


def _beside(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


assault, expected = _beside("assault"), _beside("expected")


@pytest.fixture
def root() -> Iterator[Path]:
    """pytest's own folders are closed to other uids, which some levels are."""
    made = Path(tempfile.mkdtemp(prefix="orch-attacks-"))
    made.chmod(0o711)
    yield made
    for paths in map(RunPaths, (made / "data" / "runs").glob("*")):
        rundir.kill_leftovers(paths, with_shim=True)
    shutil.rmtree(made, ignore_errors=True)


def measured(root: Path) -> Measured:
    data = root / "data"
    return Probe(data, Pool(data / "uids", *UIDS), toolchains=(str(PYTHON),)).measure(frozenset(Capability))


def skip_unless_possible(root: Path, level: Sandbox) -> None:
    found = measured(root)
    if lacking := level.capabilities - found.sandbox.capabilities:
        pytest.skip("; ".join(f"no {one} here: {found.missing.get(one)}" for one in sorted(lacking)))
    if level.landlock_abi > landlock_abi():
        pytest.skip(f"this kernel's Landlock has ABI {landlock_abi()}, not {level.landlock_abi}")


@dataclass
class Targets:
    """What an agent must not reach, all of it alive."""

    root: Path
    aim: dict[str, Any]

    @property
    def is_mode_kept(self) -> bool:
        return (self.root / "outside" / "mode").stat().st_mode & 0o777 == 0o600


@pytest.fixture
def targets(root: Path, request: pytest.FixtureRequest) -> Iterator[Targets]:
    """With `somebody` as its parameter, the process that stands for the orchestrator is an ordinary user's."""
    outside = root / "outside"
    outside.mkdir(mode=0o711)
    outside.chmod(0o711)
    files = {name: outside / name for name in ("secret", "database", "mode", "truncated")}
    for path in files.values():
        path.write_text("a secret of ours")
        path.chmod(0o600)
    private, other = outside / "private", root / "data" / "runs" / "2" / "workspace"
    for folder in (private, other):
        folder.mkdir(mode=0o700, parents=True)
    (private / "name").touch()
    with ExitStack() as ends:
        tcp = ends.enter_context(socket.create_server(("127.0.0.1", 0)))
        udp = ends.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        udp.bind(("127.0.0.1", 0))
        unix, abstract = (ends.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(2))
        unix.bind(str(root / "socket"))
        (root / "socket").chmod(0o777)
        abstract.bind(f"\0{root.name}")
        for one in (unix, abstract):
            one.listen(4)
        pipe = subprocess.PIPE
        command = [str(PYTHON), "-IS", "-c", VICTIM, "victim"]
        who = getattr(request, "param", {})
        secret = {"SECRET": "a secret of ours"}
        victim = ends.enter_context(subprocess.Popen(command, stdin=pipe, stdout=pipe, env=secret, **who))
        assert victim.stdout is not None
        aim = {name: str(path) for name, path in files.items()} | {
            "private": str(private),
            "other_run": str(other),
            "tcp": tcp.getsockname()[1],
            "udp": udp.getsockname()[1],
            "unix": str(root / "socket"),
            "abstract": root.name,
            "victim": victim.pid,
            "address": int(victim.stdout.readline()),
            "memory": assault.MEMORY,
            "file": assault.FILE,
            "fill": assault.FILL,
            "mark": f"daemon-of-{root.name}",
            "credential": assault.CREDENTIAL.replace("-", "_"),
        }
        yield Targets(root, aim)
        victim.kill()
        left_in_shared_memory(aim["mark"]).unlink(missing_ok=True)


def left_in_shared_memory(mark: str) -> Path:
    return Path("/dev/shm", mark)


def attack(root: Path, targets: Targets, level: Sandbox) -> tuple[RunPaths, dict[str, str]]:
    paths = assault.prepared(root, targets.aim)
    return paths, assault.attack(paths, level, PYTHON)


def attack_as_somebody(root: Path, targets: Targets, level: Sandbox) -> dict[str, str]:
    """With the orchestrator itself as an ordinary user, which the process of the tests is not."""
    (root / "aim.json").write_text(json.dumps(targets.aim))
    give_away(root)
    command = [str(PYTHON), "-S", str(HERE / "assault.py"), str(root), str(level.landlock_abi)]
    done = subprocess.run(
        [*command, str(int(level.has_bwrap)), str(PYTHON)],
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT / "src"), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        timeout=110,
        check=False,
        cwd="/",
        **AS_SOMEBODY,
    )
    assert done.returncode == 0, done.stderr.decode()
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found


def give_away(root: Path) -> None:
    for path in (root, *root.rglob("*")):
        os.chown(path, SOMEBODY, SOMEBODY, follow_symlinks=False)


def with_mark(mark: str) -> list[int]:
    found = []
    for entry in os.scandir("/proc"):
        try:
            words = Path(entry.path, "cmdline").read_bytes().split(b"\0") if entry.name.isdigit() else []
        except (FileNotFoundError, ProcessLookupError):
            continue
        if mark.encode() in words:
            found.append(int(entry.name))
    return found


def check(root: Path, targets: Targets, level: Sandbox) -> None:
    paths, answers = attack(root, targets, level)
    judge(targets, level, answers, is_root=os.geteuid() == 0)
    policy = rundir.applied_policy(paths)
    assert policy is not None
    assert policy.level == str(level)


def judge(targets: Targets, level: Sandbox, answers: dict[str, str], *, is_root: bool) -> None:
    if left_in_shared_memory(targets.aim["mark"]).exists():
        answers["leave_a_shared_memory_file_for_the_next_run"] = "through"
    through = {name for name, answer in answers.items() if answer == "through"}
    tried = {*expected.ATTACKS, *expected.HOLES}
    counted.said(f"{level}, ABI {level.landlock_abi}: {len(through & tried)} of {len(tried)} attacks got through")
    assert set(answers) == tried | set(expected.MUST_WORK)
    wanted = expected.through(level, is_root=is_root)
    if not level.landlock_abi:
        wanted -= expected.LEFT_TO_THE_MACHINE - through
    assert through & tried == wanted, {name: answers[name] for name in (through & tried) ^ wanted}
    assert through >= set(expected.MUST_WORK), answers
    assert with_mark(targets.aim["mark"]) == [], "the daemon survived the stop"
    if "change_mode_of_a_foreign_file" not in wanted:
        assert targets.is_mode_kept


@pytest.mark.parametrize("name", ALL)
def test_what_gets_through_is_what_the_level_says(root: Path, targets: Targets, name: str) -> None:
    level = ALL[name]
    assert str(level) == name
    skip_unless_possible(root, level)
    check(root, targets, level)


@pytest.mark.parametrize(
    "abi", [pytest.param(abi, marks=() if abi == LANDLOCK_TCP_ABI else pytest.mark.nightly) for abi in OLDER]
)
@pytest.mark.parametrize("name", [name for name in LEVELS if name != "none"])
def test_an_older_landlock_lets_through_what_its_page_says(
    root: Path, targets: Targets, name: str, abi: int
) -> None:
    whole = LEVELS[name]
    skip_unless_possible(root, whole)
    level = Sandbox(abi, has_user=whole.has_user, has_bwrap=whole.has_bwrap)
    check(root, targets, level)
    assert (Capability.LANDLOCK in level.capabilities) is (abi >= 4)


@pytest.mark.parametrize("targets", [AS_SOMEBODY], indirect=True, ids=["somebody"])
@pytest.mark.parametrize(
    ("name", "abi"), [("landlock", 7), ("landlock", 4), ("landlock+bwrap", 7), ("landlock+bwrap", 4), ("bwrap", 0)]
)
def test_an_orchestrator_without_root_is_protected_too(root: Path, targets: Targets, name: str, abi: int) -> None:
    if os.geteuid() != 0:
        pytest.skip("the other tests are those of an ordinary user already")
    if not is_open(ROOT / "src" / "orchestrator"):
        pytest.skip(f"another user cannot read {ROOT}")
    level = Sandbox(abi, has_bwrap=ALL[name].has_bwrap)
    skip_unless_possible(root, level)
    judge(targets, level, attack_as_somebody(root, targets, level), is_root=False)


def is_open(folder: Path) -> bool:
    return all(one.stat().st_mode & 0o001 for one in (folder, *folder.parents))


def test_at_the_best_level_nothing_gets_through() -> None:
    best = LEVELS["landlock+user+bwrap"]
    assert expected.through(best, is_root=True) == expected.through(best, is_root=False) == frozenset()


@pytest.mark.parametrize("abi", [7, *OLDER])
def test_the_level_that_is_shown_is_the_one_that_is_measured(root: Path, abi: int) -> None:
    if landlock_abi() < abi:
        pytest.skip(f"this kernel's Landlock has ABI {landlock_abi()}, not {abi}")
    found = Sandboxes(root / "data", Wish(least=frozenset()), UIDS, abi_max=abi).measured()
    assert found.sandbox.landlock_abi == abi
    assert (Capability.LANDLOCK in found.sandbox.capabilities) is (abi >= 4)
    assert str(found.sandbox).startswith("landlock-without-tcp" if abi < 4 else "landlock")
    assert (Capability.LANDLOCK in found.missing) is (abi < 4)


# --- after a shim that died


@pytest.mark.parametrize("name", ["landlock+user", "landlock+user+bwrap"])
def test_a_daemon_that_hides_from_its_shim_ends_with_the_uid(root: Path, targets: Targets, name: str) -> None:
    """It has no descriptor and no variable of the run; only its uid tells whose it is."""
    level = LEVELS[name]
    skip_unless_possible(root, level)
    paths = assault.prepared(root, targets.aim)
    sandboxes = Sandboxes(root / "data", Wish(least=frozenset()), UIDS)
    sandboxes._measured = Measured(level)
    (paths.workspace / "aim.json").write_text(json.dumps(targets.aim | {"only": ["leave_a_daemon"]}))
    command = [str(PYTHON), "-IS", "attacker.py", "aim.json"]
    env = {"HOME": str(paths.home)}
    raw = launcher.spec_bytes(paths.workspace, command, env, RunLimits(100, 1, 1), ProcessLimits())
    with sandboxes.way(paths, str(PYTHON), ApiRoute()) as way:
        process = launcher.start_shim(paths, raw, Credential(), way.policy, way.kept)
    until(lambda: with_mark(targets.aim["mark"]), "the daemon is up", 60)
    policy = rundir.applied_policy(paths)
    assert policy is not None
    assert policy.uid is not None
    with sandboxes.pool.lend() as (other, _):
        assert other != policy.uid, "the shim holds what it was lent"
    process.send_signal(signal.SIGKILL)
    process.wait(20)
    sandboxes.pool.end_leftovers(policy.uid)
    until(lambda: not with_mark(targets.aim["mark"]), "the daemon is dead", 20)


ALONE = """
import os, resource, sys
sys.path.append(sys.argv[1]); uid = int(sys.argv[2])
from orchestrator.agents import confine
heard, said = os.pipe()
other = os.fork()
os.setgroups([]); os.setresgid(uid, uid, uid); os.setresuid(uid, uid, uid)
if other == 0:
    os.write(said, b"x")
    sys.stdin.read()
    os._exit(0)
os.read(heard, 1)
resource.setrlimit(resource.RLIMIT_NPROC, (2, 2))
print(confine._is_alone(), flush=True)
os.kill(other, 9)
os.waitpid(other, 0)
print(confine._is_alone(), confine._is_alone())
"""


def test_who_ends_all_of_a_uid_knows_when_nobody_is_left(root: Path) -> None:
    """Or each launch would go on killing for a time that is enough for the worst."""
    skip_unless_possible(root, LEVELS["landlock+user"])
    command = [sys.executable, "-c", ALONE, str(ROOT / "src"), str(SOMEBODY + 1)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["False", "True", "True"]


def test_a_uid_is_never_lent_twice(root: Path) -> None:
    pool = Pool(root / "uids", 64300, 64301)
    with pool.lend() as (first, _), pool.lend() as (second, kept):
        assert {first, second} == {64300, 64301}
        with pytest.raises(Exception, match="lent to runs"), pool.lend():
            pass
        inherited = os.dup(kept)
    with pool.lend() as (again, _):
        assert again == first, "the other one is still held by who inherited its lock"
    os.close(inherited)


def test_two_orchestrators_on_one_machine_never_lend_the_same_uid(root: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root lends uids")
    one, other = (Sandboxes(root / name, uids=(64340, 64341)).pool for name in ("one", "other"))
    with one.lend() as (first, _), other.lend() as (second, _):
        assert first != second
        with pytest.raises(Transient, match="lent to runs"), one.lend():
            pass


def test_a_pool_that_belongs_to_people_is_not_used(root: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root lends uids")
    data = root / "data"
    found = Probe(data, Pool(data / "uids", 1, 2)).measure(frozenset({Capability.USER}))
    assert not found.sandbox.has_user
    assert "belong to" in found.missing[Capability.USER]


# --- the page


def test_the_page_says_what_the_battery_measures() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    rows = {
        cells[0].replace(" ", "_"): cells[1:]
        for line in text.splitlines()
        if line.startswith("|") and len(cells := [cell.strip() for cell in line.strip("|").split("|")]) == 6
    }
    wanted = {
        name: [shown(name, level) for level in LEVELS.values()] for name in (*expected.ATTACKS, *expected.HOLES)
    }
    assert {name: rows.get(name) for name in wanted} == wanted
    for name in (*expected.OLD_TCP, *expected.OLD_SIGNALS, *expected.OLD_TRUNCATION):
        assert re.search(rf"^- Before ABI \d.*{name.replace('_', ' ')}", text, re.MULTILINE), name


def test_the_page_says_what_gets_through_without_landlock() -> None:
    """That alone: the page says of the table that all else is stopped."""
    rows = {
        cells[0].replace(" ", "_"): cells[1:]
        for line in DOCUMENT.read_text(encoding="utf-8").splitlines()
        if line.startswith("|") and len(cells := [cell.strip() for cell in line.strip("|").split("|")]) == 4
    }
    tried = (*expected.ATTACKS, *expected.HOLES)
    wanted = {name: [shown(name, level) for level in WITHOUT_LANDLOCK.values()] for name in tried}
    stopped = ["stopped"] * len(WITHOUT_LANDLOCK)
    assert {name: cells for name, cells in rows.items() if name in tried} == {
        name: cells for name, cells in wanted.items() if cells != stopped
    }


def shown(name: str, level: Sandbox) -> str:
    by_root, by_others = (name in expected.through(level, is_root=is_root) for is_root in (True, False))
    if by_root and not by_others:
        return "as root"
    return "**through**" if by_root else "stopped"
