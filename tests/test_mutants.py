"""The judge of `make mutate`: what it lets pass and what not. And the explanations, held against the source."""

import importlib.util
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

from support import ROOT

EXPLAINED = (ROOT / "tests" / "mutants-explained.toml").read_text("utf-8")


@pytest.fixture(scope="module")
def judge() -> ModuleType:
    spec = importlib.util.spec_from_file_location("mutants_judge", ROOT / "scripts" / "mutants.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["mutants_judge"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("statuses", "is_explained", "headlines"),
    [
        ({"killed"}, False, []),
        ({"timeout"}, False, []),
        ({"caught by type check"}, False, []),
        ({"survived"}, True, []),
        ({"no tests"}, True, []),
        ({"killed", "survived"}, True, []),
        ({"survived"}, False, ["Survived and not explained"]),
        ({"no tests"}, False, ["Survived and not explained"]),
        ({"killed", "survived"}, False, ["Survived and not explained"]),
        ({"killed"}, True, ["Explained, but no longer survives"]),
        ({"timeout"}, True, ["Explained, but no longer survives"]),
        ({"not checked"}, False, ["Not judged (run it again)"]),
        ({"segfault"}, False, ["Not judged (run it again)"]),
        ({"suspicious"}, False, ["Not judged (run it again)"]),
    ],
)
def test_what_is_wrong_is_told(
    judge: ModuleType, statuses: set[str], is_explained: bool, headlines: list[str]
) -> None:
    mutant = judge.Mutant("qg.ci._item", "return a", "return b")
    found = judge.report({mutant: statuses}, Counter(), {mutant} if is_explained else set())
    assert list(found.wrong) == headlines


def test_an_explained_mutant_of_a_function_that_is_gone_is_told(judge: ModuleType) -> None:
    gone = judge.Mutant("qg.ci._gone", "return a", "return b")
    assert "Explained, but there is no such function" in judge.report({}, Counter(), {gone}).wrong


def test_a_mutant_is_known_by_the_lines_that_differ(judge: ModuleType) -> None:
    before = "def f():\n    a = 1\n    return a + 1\n"
    assert judge.changed(before, before.replace("a + 1", "a - 1")) == ("return a + 1", "return a - 1")


def test_an_explanation_without_a_reason_is_none(judge: ModuleType) -> None:
    text = '[[mutant]]\nfunction = "qg.ci.f"\nline = "a"\nbecomes = ["b", "c"]\nwhy = "{}"\n'
    assert len(judge.explained_in(text.format("It is the same."), "orchestrator.*")) == 2
    assert not judge.explained_in(text.format(" "), "orchestrator.*")
    assert not judge.explained_in(text.format("It is the same."), "orchestrator.workflow*")


def test_a_decorated_function_is_told_for_mutmut_leaves_it_alone(judge: ModuleType, tmp_path: Path) -> None:
    source = tmp_path / "one.py"
    source.write_text(
        "@cache\ndef f(): ...\n\n\ndef g(): ...\n\n\nclass C:\n    @classmethod\n    def h(cls): ...\n"
    )
    assert [name.rpartition(".")[2] for name in judge.unmutated([source], "*")] == ["f"]


def test_every_explained_line_stands_in_its_module(judge: ModuleType) -> None:
    """Cheaper than to mutate, so an edit that makes an explanation stale shows itself in `make test`."""
    for one in judge.explained_in(EXPLAINED, "orchestrator.*"):
        package, module, *_ = one.function.split(".")
        source = (ROOT / "src" / "orchestrator" / package / f"{module}.py").read_text("utf-8")
        assert one.line in " ".join(line.strip() for line in source.splitlines()), one
