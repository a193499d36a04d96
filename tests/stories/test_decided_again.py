"""Every decision of every story is made once more, and must come out the same."""

import ast
import shutil
import sqlite3
from pathlib import Path

import pytest

from orchestrator.sim.world import Service, World
from stories.team import decided_again
from support import at_rest

STORIES = sorted(Path(__file__).parent.glob("*.py"))
ELSEWHERE = {"test_bad_senders.py": "one service for all, and none of its deliveries makes a task"}


@pytest.mark.parametrize("path", STORIES, ids=lambda path: path.name)
def test_a_service_of_a_story_lives_where_its_decisions_are_looked_for(path: Path) -> None:
    """See conftest.py: in the folder of the fixture `world`."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == "Service":
            assert ast.unparse(node.args[0]) == "world.root" or path.name in ELSEWHERE, node.lineno
        if isinstance(node, ast.FunctionDef) and any("fixture" in ast.unparse(one) for one in node.decorator_list):
            assert node.name not in {"world", "_decided_again"} or path.name == "conftest.py", node.lineno


def test_each_story_is_looked_through(request: pytest.FixtureRequest, world: World, tmp_path: Path) -> None:
    assert "_decided_again" in request.fixturenames
    assert world.root == tmp_path / "world"


def test_a_decision_that_would_come_out_otherwise_is_noticed(
    world: World, service: Service, tmp_path: Path
) -> None:
    world.post_recorded(service, "issue__created__rest")
    with service.client() as client:
        at_rest(client)
    service.stop()
    told = tmp_path / "world" / "data" / "orchestrator.db"
    assert decided_again(told) >= 3
    for column in ("decision", "verdicts", "config_digest"):
        spoiled = shutil.copyfile(told, tmp_path / f"{column}.db")
        with sqlite3.connect(spoiled) as connection:
            connection.execute(f"UPDATE decisions SET {column} = {column} || ' ' WHERE id = 1")
        connection.close()
        with pytest.raises(AssertionError):
            decided_again(spoiled)
