"""`orch doctor --model`: whether the model answers, told by the real CLI as agents start it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from orchestrator.sim import messages_api
from orchestrator.sim.server import LoopbackServer
from orchestrator.sim.world import World
from warm import orch


def asked(world: World, cli: Path, **more: str) -> dict[str, Any]:
    done = orch("doctor", "--model", "--json", cwd=world.root, environ={**world.settings(cli), **more})
    found = {finding["code"]: finding for finding in json.loads(done.stdout)}
    assert list((world.root / "data").glob("question-*")) == []
    return found


@contextmanager
def api(scenario: str) -> Iterator[str]:
    with LoopbackServer(messages_api.create_app(scenario)) as server:
        yield server.url


@pytest.mark.real_cli
@pytest.mark.parametrize("is_sandboxed", [False, True])
def test_a_model_that_answers_is_named_with_what_the_answer_cost(
    world: World, real_claude: Path, is_sandboxed: bool
) -> None:
    world.is_sandboxed = is_sandboxed
    found = asked(world, real_claude, ORCH_CLAUDE_MODEL="claude-opus-5-5")
    assert found["model"]["level"] == "fine", found
    assert "claude-opus-5-5" in found["model"]["message"]


@pytest.mark.real_cli
@pytest.mark.parametrize(
    ("scenario", "said", "mend"),
    [
        ("http_404", "selected model (claude-old-1)", "Set ORCH_CLAUDE_MODEL"),
        # The CLI tries these again for a minute or more before it says what it was.
        pytest.param("http_401", "authentication_failed", "Renew ORCH_", marks=pytest.mark.nightly),
        pytest.param("http_529", "overloaded_error", "ORCH_CLAUDE_PROXY", marks=pytest.mark.nightly),
    ],
)
@pytest.mark.timeout(200)
def test_a_model_that_does_not_is_told_in_the_apis_own_words_with_what_to_do(
    world: World, real_claude: Path, scenario: str, said: str, mend: str
) -> None:
    with api(scenario) as url:
        found = asked(world, real_claude, ORCH_CLAUDE_MODEL="claude-old-1", ORCH_CLAUDE_BASE_URL=url)
    assert found["no_model"]["level"] == "broken"
    assert said in found["no_model"]["message"]
    assert mend in found["no_model"]["mend"]


def test_where_no_agent_can_be_started_the_model_is_not_asked_and_it_says_why(world: World) -> None:
    found = asked(world, Path("/nonexistent/claude"))
    assert found["claude_missing"]["level"] == "broken"
    assert "ORCH_CLAUDE_BIN" in found["claude_missing"]["mend"]


def test_nobody_is_asked_who_was_not_to_be(world: World, scripted: Path) -> None:
    done = orch("doctor", "--json", cwd=world.root, environ=world.settings(scripted))
    assert not {"model", "no_model"} & {finding["code"] for finding in json.loads(done.stdout)}
