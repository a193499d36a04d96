"""The real CLI inside the best sandbox of this machine, and inside each lesser one."""

import asyncio
import json
import os
import secrets
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

import counted
from certificates import authority
from chaos.canaries import Canary, Search
from orchestrator.agents import rundir, supervise
from orchestrator.agents.launcher import ApiRoute, Credential, CredentialKind, ProcessLimits
from orchestrator.agents.rundir import RunPaths
from orchestrator.agents.sandbox import Capability
from orchestrator.agents.sandboxes import Sandboxes, Wish
from orchestrator.domain.errors import Permanent
from orchestrator.domain.roles import Role
from orchestrator.domain.run import Outcome, VerdictWord
from orchestrator.sim import messages_api
from orchestrator.sim.script import LONG_TOOL_S
from orchestrator.sim.server import LoopbackServer

REAL = Path(__file__).parents[2] / ".tools" / "claude"
SECRET = f"sk-{secrets.token_hex(16)}"
UIDS = (64310, 64319)
ELSEWHERE = "127.0.0.2"
pytestmark = pytest.mark.real_cli
LEVELS = [
    pytest.param(None, id="the best"),
    pytest.param(frozenset({Capability.LANDLOCK}), id="landlock", marks=pytest.mark.nightly),
    pytest.param(frozenset({Capability.LANDLOCK, Capability.USER}), id="landlock+user", marks=pytest.mark.nightly),
    pytest.param(
        frozenset({Capability.LANDLOCK, Capability.BWRAP}), id="landlock+bwrap", marks=pytest.mark.nightly
    ),
]
Asked = frozenset[Capability] | None


@pytest.fixture
def open_world(world: Any) -> Iterator[Any]:
    """pytest's own folders are closed to other uids, so the data lies elsewhere. Its CLI is copied once a test."""
    root = Path(tempfile.mkdtemp(prefix="orch-sandboxed-"))
    root.chmod(0o711)
    world.data_dir = root / "data"
    yield world
    for directory in (root / "data" / "runs").glob("*"):
        rundir.kill_leftovers(RunPaths(directory), with_shim=True)
    shutil.rmtree(root, ignore_errors=True)


@pytest.fixture
def real() -> Path:
    if not REAL.exists():
        pytest.skip("the Claude Code CLI is not installed (.tools/claude): run make setup")
    return REAL


def sandboxed(world: Any, real: Path, url: str, asked: Asked) -> Any:
    runtime = world.runtime(real, Credential(CredentialKind.API_KEY, SECRET))
    runtime.route, runtime.limits = ApiRoute(url), ProcessLimits()
    runtime.sandboxes = Sandboxes(world.data_dir, Wish(asked), UIDS)
    try:
        runtime.sandboxes.admitted()
    except Permanent as error:
        pytest.skip(error.message)
    return runtime


async def run(runtime: Any, spec: Any) -> Any:
    await runtime.prepare(spec)
    await runtime.launch(spec)
    return await runtime.wait(spec, lambda _usage: None)


@pytest.mark.parametrize("asked", LEVELS)
async def test_developer_and_reviewer_do_their_work(open_world: Any, real: Path, asked: Asked) -> None:
    world = open_world
    with LoopbackServer(messages_api.create_app()) as server:
        runtime = sandboxed(world, real, server.url, asked)
        spec = world.spec(role=Role.DEVELOPER)
        result = await run(runtime, spec)
        assert result.outcome is Outcome.SUCCEEDED, result
        assert runtime.sandbox_of(spec.run) == str(runtime.sandboxes.measured().sandbox)
        head = await runtime.collect(spec)
        assert head is not None
        await runtime.publish(spec, head)
        assert world.forge.head() == head
        reviewed = await run(runtime, world.spec(2, role=Role.REVIEWER))
    assert reviewed.verdict is not None, reviewed
    assert reviewed.verdict.word is VerdictWord.APPROVED
    assert living_below(world.data_dir) == []
    search = Search((Canary("model", SECRET),))
    search.files("files, its HOME among them", world.data_dir, but=world.data_dir.rglob("claude"))
    counted.said(search.said())
    assert search.found == set()
    assert [path for path in world.data_dir.glob("runs/*/home/**/*.jsonl") if path.is_file()], "its transcripts"


def living_below(data_dir: Path) -> list[str]:
    """As `World.living`, for data that lies elsewhere."""
    found = []
    for entry in os.scandir("/proc"):
        with suppress(FileNotFoundError, ProcessLookupError, PermissionError):
            words = Path(entry.path, "cmdline").read_bytes() if entry.name.isdigit() else b""
            if os.fsencode(data_dir) in words:
                found.append(words.decode(errors="replace"))
    return found


def below(shim: int, word: str) -> list[int]:
    """Processes of one run that have the word on their command line."""
    found = []
    for pid in supervise._below(shim, {pid: supervise._parent(pid) for pid in supervise.pids()}):
        with suppress(FileNotFoundError, ProcessLookupError):
            if word.encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
                found.append(pid)
    return found


def wrote_a_result(log: Path) -> bool:
    return any(json.loads(line)["type"] == "result" for line in log.read_text().splitlines())


def tools(runtime: Any, spec: Any) -> list[int]:
    return below(runtime._shims[spec.run].pid, str(LONG_TOOL_S))


@pytest.mark.parametrize("asked", LEVELS)
async def test_it_is_stopped_in_the_middle_of_a_tool_and_ends_by_itself(
    open_world: Any, real: Path, asked: Asked, eventually: Callable[..., Any]
) -> None:
    world = open_world
    with LoopbackServer(messages_api.create_app("long_tool")) as server:
        runtime, spec = sandboxed(world, real, server.url, asked), world.spec()
        runtime.limits = ProcessLimits(interrupt_s=40)
        await runtime.prepare(spec)
        await runtime.launch(spec)
        await eventually(lambda: tools(runtime, spec), "the tool runs", 60)
        await runtime.stop(spec.run)
        result = await runtime.wait(spec, lambda _usage: None)
    # It interrupts itself; what kills it gives another code. Its result record is not asked for: interrupted just
    # when it starts a tool, the CLI at times ends without one.
    assert (result.outcome, result.exit_code) == (Outcome.CANCELLED, 0), result
    assert bool(result.detail) == wrote_a_result(world.paths(spec).log)
    assert living_below(world.data_dir) == []


PEEK = """
import os, sys
cli, uid = int(sys.argv[1]), int(sys.argv[2])
os.setgroups([]); os.setresgid(uid, uid, uid); os.setresuid(uid, uid, uid)
for what in ("environ", "mem", "maps", "fd/3"):
    try:
        os.close(os.open(f"/proc/{cli}/{what}", os.O_RDONLY | os.O_NONBLOCK)); print(what)
    except OSError:
        pass
"""


def peek(pid: int, uid: str) -> list[bytes]:
    command = [sys.executable, "-IS", "-c", PEEK, str(pid), uid]
    return subprocess.run(command, capture_output=True, check=True, timeout=20).stdout.split()


async def test_nobody_with_its_uid_reads_the_memory_of_the_cli(
    open_world: Any, real: Path, eventually: Callable[..., Any]
) -> None:
    """Not even outside of the sandbox, where neither Landlock nor the filter is in the way."""
    world = open_world
    asked = frozenset({Capability.LANDLOCK, Capability.USER})
    with LoopbackServer(messages_api.create_app("long_tool")) as server:
        runtime, spec = sandboxed(world, real, server.url, asked), world.spec()
        await runtime.prepare(spec)
        await runtime.launch(spec)
        await eventually(lambda: tools(runtime, spec), "the tool runs", 60)
        policy = rundir.applied_policy(world.paths(spec))
        (cli,) = below(runtime._shims[spec.run].pid, spec.session_id)
        tool = tools(runtime, spec)[0]
        uid = str(policy.uid)
        seen = [await asyncio.to_thread(peek, pid, uid) for pid in (cli, tool)]
        await runtime.stop(spec.run)
        await runtime.wait(spec, lambda _usage: None)
    assert seen[0] == []
    assert b"mem" in seen[1], "the look itself must work, on a process that is not hidden"


async def test_a_killed_shim_takes_the_confined_cli_along(
    open_world: Any, real: Path, eventually: Callable[..., Any]
) -> None:
    world = open_world
    with LoopbackServer(messages_api.create_app("long_tool")) as server:
        runtime, spec = sandboxed(world, real, server.url, None), world.spec()
        await runtime.prepare(spec)
        await runtime.launch(spec)
        await eventually(lambda: tools(runtime, spec), "the tool runs", 60)
        os.kill(runtime._shims[spec.run].pid, signal.SIGKILL)
        result = await runtime.wait(spec, lambda _usage: None)
        assert result.outcome is Outcome.LOST
        await eventually(lambda: not living_below(world.data_dir), "nothing is left", 30)


@asynccontextmanager
async def elsewhere(url: str, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """The same server at an address that is not `the` loopback one: for it, agents need the forwarder."""
    port = int(url.rpartition(":")[2])

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        near, far = await asyncio.open_connection("127.0.0.1", port)
        with suppress(OSError):
            await asyncio.gather(_copy(reader, far), _copy(near, writer))

    async with await asyncio.start_server(carry, ELSEWHERE, 0, ssl=tls) as server:
        yield f"http{'s' if tls else ''}://{ELSEWHERE}:{server.sockets[0].getsockname()[1]}"


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(65536):
        writer.write(piece)
        await writer.drain()
    writer.close()


@pytest.mark.parametrize("asked", LEVELS[:2])
async def test_it_reaches_the_api_through_its_forwarder_alone(open_world: Any, real: Path, asked: Asked) -> None:
    world = open_world
    with LoopbackServer(messages_api.create_app()) as server:
        async with elsewhere(server.url) as url:
            runtime, spec = sandboxed(world, real, url, asked), world.spec()
            result = await run(runtime, spec)
            assert result.outcome is Outcome.SUCCEEDED, (result, world.paths(spec).errors.read_text())
            policy = rundir.applied_policy(world.paths(spec))
            assert policy is not None
            assert (policy.ports, policy.forward[:4]) == ([], b"http")
    assert living_below(world.data_dir) == []


async def test_it_speaks_tls_with_the_api_and_trusts_whom_the_operator_names(
    open_world: Any, real: Path, tmp_path: Path
) -> None:
    """As it is shipped: through the forwarder goes a tunnel, and who the API is the CLI sees for itself."""
    world, known = open_world, authority(tmp_path, ELSEWHERE)
    with LoopbackServer(messages_api.create_app()) as server:
        async with elsewhere(server.url, known.server) as url:
            runtime, trusting, other = sandboxed(world, real, url, None), world.spec(1), world.spec(2)
            runtime.route = ApiRoute(url, authorities=known.certificates)
            trusted = await run(runtime, trusting)
            runtime.route = ApiRoute(url)
            untrusted = await run(runtime, other)
    assert trusted.outcome is Outcome.SUCCEEDED, (trusted, world.paths(trusting).errors.read_text())
    assert (untrusted.outcome, untrusted.reason) == (Outcome.UNAVAILABLE, "tls_untrusted_ca"), untrusted
    policy = rundir.applied_policy(world.paths(trusting))
    assert policy is not None
    assert (policy.ports, policy.forward[:5]) == ([], b"https")
    assert living_below(world.data_dir) == []


@contextmanager
def nowhere() -> Iterator[str]:
    """Where nobody listens and only the forwarder leads to. The port is held, so that nobody else gets it."""
    with socket.socket() as held:
        held.bind((ELSEWHERE, 0))
        yield f"http://{ELSEWHERE}:{held.getsockname()[1]}"


@pytest.mark.nightly  # the CLI gives up only after most of a minute
@pytest.mark.timeout(400)
async def test_behind_the_forwarder_a_refusal_and_a_cut_stream_are_an_api_that_cannot_be_had(
    open_world: Any, real: Path
) -> None:
    """The refusal is the forwarder's 502 then. Without a sandbox: `test_api_faults.py`."""
    world = open_world

    with LoopbackServer(messages_api.create_app("cut_stream")) as server, nowhere() as nobody:
        async with elsewhere(server.url) as cut:
            runtime, specs = sandboxed(world, real, nobody, None), [world.spec(1), world.spec(2)]
            for spec, url in zip(specs, (nobody, cut), strict=True):
                runtime.route = ApiRoute(url)
                await runtime.prepare(spec)
                await runtime.launch(spec)
            refused, torn = await asyncio.gather(*(runtime.wait(spec, lambda _usage: None) for spec in specs))
    counted.said(f"refused: {refused.outcome} {refused.reason}; cut: {torn.outcome} {torn.reason}")
    assert (refused.outcome, torn.outcome) == (Outcome.UNAVAILABLE, Outcome.UNAVAILABLE), (refused, torn)
    assert "502" in refused.detail, refused
    assert torn.reason == "connection_failed"
    assert living_below(world.data_dir) == []


async def test_a_launch_below_the_least_level_is_refused_with_the_reason(open_world: Any, real: Path) -> None:
    world = open_world
    runtime, spec = world.runtime(real), world.spec()
    runtime.sandboxes = Sandboxes(world.data_dir, Wish(), UIDS, abi_max=2)
    await runtime.prepare(spec)
    with pytest.raises(Permanent, match="does not know TCP") as error:
        await runtime.launch(spec)
    assert error.value.code == "sandbox_too_weak"
    assert "ORCH_MIN_SANDBOX=none" in error.value.hint
    assert not world.paths(spec).started.exists()


async def test_what_was_asked_for_by_name_is_never_left_out(open_world: Any) -> None:
    wish = Wish(frozenset({Capability.LANDLOCK, Capability.USER}), frozenset())
    sandboxes = Sandboxes(open_world.data_dir, wish, (1, 2))
    with pytest.raises(Permanent, match="user"):
        sandboxes.admitted()
