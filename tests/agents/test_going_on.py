"""A run that goes on where an earlier attempt was cut short; and one that cannot, and is told what was done."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from orchestrator.agents import takeover
from orchestrator.agents.launcher import ApiRoute, Credential, CredentialKind
from orchestrator.domain.errors import Transient
from orchestrator.domain.run import Earlier, Outcome, RunLimits, RunResult, RunSpec
from orchestrator.sim import messages_api
from orchestrator.sim.server import LoopbackServer
from orchestrator.sim.wrapper import write_wrapper

REAL = Path(__file__).parents[2] / ".tools" / "claude"


@dataclass(frozen=True)
class Cli:
    binary: Path
    api_url: str | None


@pytest.fixture(params=["scripted", pytest.param("real", marks=pytest.mark.real_cli)])
def clis(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Cli, Cli]]:
    """One that is cut short, and one that works."""
    if request.param == "scripted":
        long = Cli(write_wrapper(tmp_path / "long", "long_tool"), None)
        yield long, Cli(write_wrapper(tmp_path / "works"), None)
        return
    if not REAL.exists():
        pytest.skip("the Claude Code CLI is not installed (.tools/claude): run make setup")
    with (
        LoopbackServer(messages_api.create_app("long_tool")) as long_api,
        LoopbackServer(messages_api.create_app()) as api,
    ):
        yield Cli(REAL, long_api.url), Cli(REAL, api.url)


@pytest.fixture
def scripted(tmp_path: Path) -> tuple[Cli, Cli]:
    long = Cli(write_wrapper(tmp_path / "long", "long_tool"), None)
    return long, Cli(write_wrapper(tmp_path / "works"), None)


async def begun(world: Any, cli: Cli, spec: RunSpec) -> Any:
    runtime = world.runtime(cli.binary, Credential(CredentialKind.API_KEY, "k"))
    runtime.route = ApiRoute(cli.api_url)
    await runtime.prepare(spec)
    await runtime.launch(spec)
    return runtime


async def ended(world: Any, cli: Cli, spec: RunSpec) -> RunResult:
    runtime = await begun(world, cli, spec)
    result: RunResult = await runtime.wait(spec, lambda _usage: None)
    return result


async def cut_short(world: Any, cli: Cli, eventually: Callable[..., Any]) -> RunSpec:
    """An attempt that is ended in the middle of a tool, with a file written that is not committed."""
    spec: RunSpec = world.spec()
    runtime = await begun(world, cli, spec)
    await eventually(lambda: any("sleep" in text for text in world.living()), "the tool runs", 60)
    (world.paths(spec).workspace / "half").write_text("half done")
    await runtime.stop(spec.run)
    await runtime.wait(spec, lambda _usage: None)
    assert world.living() == []
    return spec


def after(spec: RunSpec) -> Earlier:
    return Earlier(spec.run, spec.session_id, spec.base_sha)


async def test_a_cut_short_attempt_is_gone_on_with_in_its_checkout_and_session(
    world: Any, clis: tuple[Cli, Cli], eventually: Callable[..., Any]
) -> None:
    long, works = clis
    first = await cut_short(world, long, eventually)
    second = world.spec(2, earlier=after(first))
    result = await ended(world, works, second)
    assert result.outcome is Outcome.SUCCEEDED, result
    paths = world.paths(second)
    assert (paths.workspace / "half").read_text() == "half done"
    kept = {path.stem for path in paths.home.glob(".claude/projects/*/*.jsonl")}
    assert {first.session_id, second.session_id} <= kept
    assert not world.paths(first).workspace.exists()
    assert await world.runtime("unused").collect(second) is not None


@pytest.mark.parametrize("gone", ["home", "workspace", "transcript", "base"])
async def test_an_attempt_that_left_too_little_is_begun_anew_with_an_account_of_it(
    world: Any, tmp_path: Path, scripted: tuple[Cli, Cli], eventually: Callable[..., Any], gone: str
) -> None:
    long, works = scripted
    first = await cut_short(world, long, eventually)
    old = world.paths(first)
    if gone == "transcript":
        next(old.home.glob(".claude/projects/*/*.jsonl")).unlink()
    elif gone == "base":
        world.forge.commit(first.branch, {"other": "pushed"})
    else:
        getattr(old, gone).rename(tmp_path / "elsewhere")
    second = world.spec(2, earlier=after(first))
    result = await ended(world, works, second)
    assert result.outcome is Outcome.SUCCEEDED, result
    workspace = world.paths(second).workspace
    told = (workspace / ".task.md").read_text()
    assert "What an earlier attempt did" in told
    assert f"<<< BEGIN UNTRUSTED HISTORY {second.session_id}" in told
    assert "Bash 1" in told
    assert not (workspace / "half").exists()


@pytest.mark.parametrize("moved", ["home", "both"])
async def test_a_kill_between_the_two_moves_loses_nothing(
    world: Any, scripted: tuple[Cli, Cli], eventually: Callable[..., Any], moved: str
) -> None:
    first = await cut_short(world, scripted[0], eventually)
    old, new = world.paths(first), world.paths(world.spec(2))
    new.root.mkdir(mode=0o700)
    old.home.rename(new.home)
    if moved == "both":
        old.workspace.rename(new.workspace)
    assert takeover.take_over(old, new, first.session_id)
    assert (new.workspace / "half").exists()
    assert not old.home.exists()


async def test_nothing_is_taken_from_under_an_agent_that_lives(
    world: Any, scripted: tuple[Cli, Cli], eventually: Callable[..., Any]
) -> None:
    first, second = world.spec(), world.spec(2)
    runtime = await begun(world, scripted[0], first)
    await eventually(lambda: any("sleep" in text for text in world.living()), "the tool runs", 60)
    with pytest.raises(Transient):
        takeover.take_over(world.paths(first), world.paths(second), first.session_id)
    await runtime.stop(first.run)
    await runtime.wait(first, lambda _usage: None)


async def test_a_link_in_the_place_of_a_checkout_is_not_taken_over(
    world: Any, tmp_path: Path, scripted: tuple[Cli, Cli], eventually: Callable[..., Any]
) -> None:
    first = await cut_short(world, scripted[0], eventually)
    old = world.paths(first)
    old.workspace.rename(tmp_path / "elsewhere")
    old.workspace.symlink_to(tmp_path)
    assert not takeover.take_over(old, world.paths(world.spec(2)), first.session_id)


def test_an_account_is_bounded_whatever_the_log_holds(world: Any) -> None:
    paths = world.paths(world.spec())
    paths.root.mkdir(parents=True)
    assert takeover.account(paths) == ""
    call = {"type": "tool_use", "name": "Bash\n\x1b", "input": {"a": "y" * 9}}
    content = [{"type": "text", "text": "x" * 10_000}, call]
    line = json.dumps({"type": "assistant", "message": {"content": content}})
    odd = [b"[]", b"{}", b"{", b"\xff", b'{"type":"assistant"}', b'{"type":"assistant","message":{"content":[1]}}']
    paths.log.write_bytes(b"\n".join([line.encode()] * 40 + odd))
    told = takeover.account(paths)
    assert told.startswith("Tools: Bash 40")
    assert len(told) < 8000
    assert "\x1b" not in told


@pytest.mark.real_cli
async def test_the_real_cli_goes_on_after_its_turn_cap_and_its_cost_is_counted_once(world: Any) -> None:
    if not REAL.exists():
        pytest.skip("the Claude Code CLI is not installed (.tools/claude): run make setup")
    with LoopbackServer(messages_api.create_app()) as server:
        cli = Cli(REAL, server.url)
        first = world.spec(limits=RunLimits(timeout_s=60, max_turns=1, max_budget_usd=5))
        capped = await ended(world, cli, first)
        second = world.spec(2, earlier=after(first))
        result = await ended(world, cli, second)
    assert (capped.outcome, capped.reason) == (Outcome.TURN_CAP, "max_turns")
    assert result.outcome is Outcome.SUCCEEDED, result
    whole = json.loads(world.paths(second).log.read_text().splitlines()[-1])["total_cost_usd"]
    assert whole > result.usage.cost_usd
    assert result.usage.cost_usd == pytest.approx(whole - capped.usage.cost_usd)
