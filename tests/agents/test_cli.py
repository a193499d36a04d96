"""The real CLI and the scripted one, through the whole runtime: the same promises hold for both."""

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import httpx
import pytest

from orchestrator.agents.launcher import ApiRoute, Credential, CredentialKind, ProcessLimits
from orchestrator.domain.roles import Language, Role
from orchestrator.domain.run import Feedback, Outcome, Usage, VerdictWord
from orchestrator.sim import messages_api
from orchestrator.sim.server import LoopbackServer
from orchestrator.sim.wrapper import write_wrapper

REAL = Path(__file__).parents[2] / ".tools" / "claude"
SECRET = "sk-test-canary-71"


@dataclass(frozen=True)
class Cli:
    binary: Path
    api_url: str | None


@pytest.fixture(params=["scripted", pytest.param("real", marks=pytest.mark.real_cli)])
def cli(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Cli]:
    if request.param == "scripted":
        yield Cli(write_wrapper(tmp_path / "claude"), None)
        return
    if not REAL.exists():
        pytest.skip("the Claude Code CLI is not installed (.tools/claude): run make setup")
    with LoopbackServer(messages_api.create_app()) as server:
        yield Cli(REAL, server.url)


@pytest.mark.parametrize(
    ("cli", "kind"),
    [
        ("scripted", CredentialKind.API_KEY),
        pytest.param("real", CredentialKind.API_KEY, marks=pytest.mark.real_cli),
        pytest.param("real", CredentialKind.OAUTH, marks=pytest.mark.real_cli),
    ],
    indirect=["cli"],
)
async def test_the_analyst_commits_its_document_and_only_the_model_sees_the_credential(
    world: Any, cli: Cli, kind: CredentialKind
) -> None:
    runtime, spec = world.runtime(cli.binary, Credential(kind, SECRET)), world.spec()
    runtime.route = ApiRoute(cli.api_url)
    seen: list[Usage] = []
    await runtime.prepare(spec)
    await runtime.launch(spec)
    result = await runtime.wait(spec, seen.append)
    assert result.outcome is Outcome.SUCCEEDED, result
    assert result.cli_version.startswith("2.1.330")
    assert result.usage.turns >= 3
    assert result.usage.input_tokens > 0
    assert result.usage.cost_usd > 0
    head = await runtime.collect(spec)
    assert head is not None
    await runtime.publish(spec, head)
    assert world.forge.head() == head
    assert world.living() == []
    texts = [path.read_bytes() for path in world.data_dir.rglob("*") if path.is_file()]
    assert not [1 for text in texts if SECRET.encode() in text]
    if cli.api_url:
        await assert_was_used(cli.api_url)


async def assert_was_used(api_url: str) -> None:
    """The model's API was sent the credential."""
    async with httpx.AsyncClient() as client:
        seen = (await client.get(f"{api_url}/requests")).text
    bare, bearer = (hashlib.sha256(text.encode()).hexdigest() for text in (SECRET, f"Bearer {SECRET}"))
    assert (bare in seen) or (bearer in seen)


@pytest.mark.real_cli
async def test_the_real_cli_is_stopped_in_the_middle_of_a_tool(world: Any, eventually: Callable[..., Any]) -> None:
    if not REAL.exists():
        pytest.skip("the Claude Code CLI is not installed (.tools/claude): run make setup")
    with LoopbackServer(messages_api.create_app("long_tool")) as server:
        runtime, spec = world.runtime(REAL, Credential(CredentialKind.API_KEY, SECRET)), world.spec()
        runtime.route, runtime.limits = ApiRoute(server.url), ProcessLimits(interrupt_s=40)
        await runtime.prepare(spec)
        await runtime.launch(spec)
        await eventually(lambda: any("sleep" in text for text in world.living()), "the tool runs", 60)
        await runtime.stop(spec.run)
        result = await runtime.wait(spec, lambda _usage: None)
    assert (result.outcome, result.exit_code) == (Outcome.CANCELLED, 0)
    assert world.living() == []


async def run_to_its_end(world: Any, cli: Cli, **changes: Any) -> tuple[Any, Any, Any]:
    runtime, spec = world.runtime(cli.binary, Credential(CredentialKind.API_KEY, SECRET)), world.spec(**changes)
    runtime.route = ApiRoute(cli.api_url)
    await runtime.prepare(spec)
    await runtime.launch(spec)
    return runtime, spec, await runtime.wait(spec, lambda _usage: None)


def played(rows: Iterable[tuple[Any, ...]], *, by_day: Collection[tuple[Any, ...]]) -> list[Any]:
    """All by both programs; the real one, a start of which is dear, plays by day only some."""
    found = []
    for row in rows:
        marks = [pytest.mark.real_cli, *([] if row in by_day else [pytest.mark.nightly])]
        found += [pytest.param("scripted", *row), pytest.param("real", *row, marks=marks)]
    return found


VERDICTS = [
    (role, scenario, word, language)
    for language in Language
    for role, scenario, word in (
        (Role.REVIEWER, "", VerdictWord.APPROVED),
        (Role.REVIEWER, "review_rejects_once", VerdictWord.CHANGES_REQUESTED),
        (Role.TESTER, "", VerdictWord.PASSED),
        (Role.TESTER, "test_fails_once", VerdictWord.FAILED),
    )
]
VERDICTS_BY_DAY = [
    (Role.REVIEWER, "review_rejects_once", VerdictWord.CHANGES_REQUESTED, Language.RU),
    (Role.TESTER, "", VerdictWord.PASSED, Language.EN),
    (Role.TESTER, "test_fails_once", VerdictWord.FAILED, Language.RU),
]
"""Of the real one; that it approves, in English, is part of the developer's rounds below."""


@pytest.mark.parametrize(
    ("cli", "role", "scenario", "word", "language"), played(VERDICTS, by_day=VERDICTS_BY_DAY), indirect=["cli"]
)
async def test_a_verdict_comes_through_in_structure(
    world: Any, cli: Cli, role: Role, scenario: str, word: VerdictWord, language: Language
) -> None:
    brief = f"Scenario: {scenario}" if scenario else "Check it."
    _, spec, result = await run_to_its_end(world, cli, role=role, brief=brief, language=language)
    assert (result.outcome, result.reason) == (Outcome.SUCCEEDED, ""), result
    assert result.verdict.word is word
    assert "DEMO-1" in result.verdict.report
    assert world.forge.head() == spec.base_sha


NONE_BY_DAY = [(Role.REVIEWER, "no_verdict"), (Role.TESTER, "bad_verdict")]


@pytest.mark.parametrize(
    ("cli", "role", "scenario"),
    played(product((Role.REVIEWER, Role.TESTER), ("no_verdict", "bad_verdict")), by_day=NONE_BY_DAY),
    indirect=["cli"],
)
async def test_no_verdict_is_never_a_pass(world: Any, cli: Cli, role: Role, scenario: str) -> None:
    _, _, result = await run_to_its_end(world, cli, role=role, brief=f"Scenario: {scenario}")
    assert (result.outcome, result.reason, result.verdict) == (Outcome.FAILED, "no_verdict", None)
    assert result.detail


async def test_each_round_of_the_developer_moves_the_head_and_the_reviewer_sees_the_answer(
    world: Any, cli: Cli, run_git: Callable[..., str]
) -> None:
    """The first round touches a CI file, too."""
    brief = "Scenario: review_rejects_once, developer protected_path"
    feedback: tuple[Feedback, ...] = ()
    for number, word in enumerate((VerdictWord.CHANGES_REQUESTED, VerdictWord.APPROVED)):
        developing = {"role": Role.DEVELOPER, "brief": brief, "feedback": feedback}
        runtime, spec, result = await run_to_its_end(world, cli, run=10 * number + 1, **developing)
        assert result.outcome is Outcome.SUCCEEDED, result
        head = await runtime.collect(spec)
        assert head is not None
        await runtime.publish(spec, head)
        changed = run_git("diff", "--name-only", f"{spec.base_sha}..{world.forge.head()}", cwd=world.forge.bare)
        assert (".gitea/workflows/ci.yml" in changed.splitlines()) is (number == 0)
        _, _, result = await run_to_its_end(world, cli, run=10 * number + 2, role=Role.REVIEWER, brief=brief)
        assert result.verdict is not None, result
        assert result.verdict.word is word
        feedback = (Feedback("review_rejected", "reviewer", result.verdict.report),)
