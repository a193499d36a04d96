"""Finds in the source what items the core can give: codes, parameters, who and action."""

import ast
import functools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator import qg, workflow
from orchestrator.domain.model import TriggerKind
from orchestrator.domain.run import RunState

FOLDERS = tuple(Path(str(package.__file__)).parent for package in (qg, workflow))
FAULTS = ("unreachable", "busy", "refused", "moved")
ADAPTERS = {f"{system}_{fault}" for system in ("plane", "gitea") for fault in FAULTS} | {
    "gitea_not_found",
    "gitea_archived",
    "gitea_odd_answer",
    "plane_odd_answer",
    "plane_not_found",
}
VALUES = {
    "observation.code": {"no_plane_token", "no_gitea_token"} | ADAPTERS,
    "order.verb.value": {"status", "why"},
    "one.item.code": {"status", "why"},
    "f'run_{run.state}'": {f"run_{state}" for state in RunState if state is not RunState.ENDED},
    "kind.value": {kind.value for kind in TriggerKind},
    "_objection.who": {"agent", "maintainer"},
    "_objection.action": {"run", "review_again"},
}
"""What expressions hold that the source does not spell out. A new one fails until it is written down here."""
LATER = {"status": {"stage"}, "why": {"stage"}}
"""Parameters that an item gets after it is made."""
_NAMES = ("code", "params", "evidence", "who", "action")


@dataclass
class Produced:
    """What every place that makes items of one code gives together."""

    params: set[str] = field(default_factory=set)
    who: set[str] = field(default_factory=set)
    actions: set[str] = field(default_factory=set)


@functools.cache
def produced() -> dict[str, Produced]:
    """By code. Each worker asks for it while it collects, so nothing is parsed that makes no item."""
    found: dict[str, Produced] = {}
    for folder in FOLDERS:
        for path in sorted(folder.rglob("*.py")):
            text = path.read_text(encoding="utf-8")
            if "Item(" not in text:
                continue
            for function in ast.walk(ast.parse(text)):
                if isinstance(function, ast.FunctionDef):
                    _collect(_Function(function), found)
    return found


def returned(module: Path, function: str) -> set[str]:
    """The texts that a function returns."""
    tree = ast.parse(module.read_text(encoding="utf-8"))
    bodies = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == function]
    returns = [node for body in bodies for node in ast.walk(body) if isinstance(node, ast.Return)]
    return {
        node.value
        for one in returns
        if one.value
        for node in _results(one.value)
        if isinstance(node, ast.Constant)
    }


def _collect(function: "_Function", found: dict[str, Produced]) -> None:
    for call in ast.walk(function.node):
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.func.id != "Item":
            continue
        arguments = function.arguments(call)
        for code in function.texts(arguments["code"]):
            one = found.setdefault(code, Produced())
            one.params |= LATER.get(code, set()) | function.pairs(arguments.get("params"))
            one.who |= {who for part in arguments.get("who", []) for who in function.texts([part])}
            one.actions |= set(function.texts(arguments.get("action", [])))


class _Function:
    """One function, with what its names were given."""

    def __init__(self, node: ast.FunctionDef) -> None:
        self.node = node
        self.given: dict[str, list[ast.expr]] = {}
        for one in ast.walk(node):
            if isinstance(one, ast.Assign):
                self._give(one.targets[0], one.value)
            elif isinstance(one, ast.AnnAssign) and one.value:
                self._give(one.target, one.value)

    def _give(self, target: ast.expr, value: ast.expr) -> None:
        if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
            for part, what in zip(target.elts, value.elts, strict=True):
                self._give(part, what)
        elif isinstance(target, ast.Name):
            self.given.setdefault(target.id, []).append(value)

    def arguments(self, call: ast.Call) -> dict[str, list[ast.expr]]:
        """By name; a starred pair gives who and action."""
        found: dict[str, list[ast.expr]] = {}
        for place, one in enumerate(call.args):
            if isinstance(one, ast.Starred):
                for pair in self._values(one.value):
                    assert isinstance(pair, ast.Tuple), ast.unparse(call)
                    for name, part in zip(_NAMES[place:], pair.elts, strict=True):
                        found.setdefault(name, []).append(part)
            else:
                found[_NAMES[place]] = [one]
        return found | {one.arg: [one.value] for one in call.keywords if one.arg}

    def texts(self, expressions: list[ast.expr]) -> Iterator[str]:
        for one in expressions:
            for value in self._values(one):
                yield from self._texts(value)

    def _texts(self, value: ast.expr) -> set[str]:
        text = ast.unparse(value)
        if isinstance(value, ast.Constant):
            return {value.value}
        if text in VALUES:
            return VALUES[text]
        if isinstance(value, ast.JoinedStr) and isinstance(value.values[0], ast.Constant):
            assert str(value.values[0].value).startswith("/orch "), text
            return {str(value.values[0].value).strip()}
        if f"{self.node.name}.{text}" in VALUES:
            return VALUES[f"{self.node.name}.{text}"]
        raise AssertionError(f"{self.node.name}: write down in VALUES what {text} may be")

    def pairs(self, expressions: list[ast.expr] | None) -> set[str]:
        """The names in `(("name", value), …)`, whichever way it is put together."""
        found: set[str] = set()
        left, seen = list(expressions or []), set()
        while left:
            one = left.pop()
            if isinstance(one, ast.Tuple) and len(one.elts) == 2 and isinstance(one.elts[0], ast.Constant):
                found.add(str(one.elts[0].value))
            elif isinstance(one, ast.Name) and one.id not in seen:
                seen.add(one.id)
                left += self.given.get(one.id, [])
            elif not isinstance(one, ast.Name):
                left += [part for part in ast.iter_child_nodes(one) if isinstance(part, ast.expr)]
        return found

    def _values(self, expression: ast.expr) -> Iterator[ast.expr]:
        for one in _results(expression):
            given = self.given.get(one.id, []) if isinstance(one, ast.Name) else []
            if not given:
                yield one
            for value in given:
                yield from self._values(value)


def _results(expression: ast.expr) -> Iterator[ast.expr]:
    """Each of what a choice may give."""
    if isinstance(expression, ast.IfExp):
        yield from _results(expression.body)
        yield from _results(expression.orelse)
    else:
        yield expression
