"""The last part of `make mutate`: is every mutant that survived explained, and does every explanation still hold?

A mutant is known by its function and by the lines that it changes, never by mutmut's numbers: they move with every
edit. Fails when a survivor is not explained in tests/mutants-explained.toml, when an explained mutant is killed or
gone, when a mutant was not judged, and when a function cannot be mutated at all.
"""

from __future__ import annotations

import ast
import difflib
import sys
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

from mutmut.mutation.data import SourceFileMutationData
from mutmut.mutation.diff_apply import read_functions_from_index
from mutmut.stats import status_by_exit_code
from mutmut.utils.file_utils import walk_mutatable_files
from mutmut.utils.format_utils import orig_function_and_class_names_from_key

EXPLAINED = Path("tests/mutants-explained.toml")
KILLED = ("killed", "timeout", "caught by type check")
SURVIVED = ("survived", "no tests")
MUTATED_DECORATORS = ("classmethod", "staticmethod")


@dataclass(frozen=True, order=True)
class Mutant:
    """`line` is what stands in the source and `becomes` what the mutant has instead, both without indentation."""

    function: str
    line: str
    becomes: str

    def __str__(self) -> str:
        return f"  {self.function}\n    - {self.line}\n    + {self.becomes}"


@dataclass
class Report:
    """What is wrong, under its headline; and the counts."""

    counts: Counter[str]
    wrong: dict[str, list[str]] = field(default_factory=dict)

    def blame(self, headline: str, found: Iterable[object]) -> None:
        if told := [str(one) for one in found]:
            self.wrong[headline] = told


def report(judged: dict[Mutant, set[str]], counts: Counter[str], explained: set[Mutant]) -> Report:
    """Lines that repeat in a function make equal mutants: they are one here, and each status of it counts."""
    survived = {one for one, statuses in judged.items() if statuses & set(SURVIVED)}
    functions = {one.function for one in judged}
    found = Report(counts)
    found.blame("Survived and not explained", sorted(survived - explained))
    found.blame("Explained, but no longer survives", sorted(explained - survived))
    found.blame(
        "Not judged (run it again)",
        sorted(one for one, statuses in judged.items() if statuses - {*KILLED, *SURVIVED}),
    )
    found.blame("Explained, but there is no such function", {one.function for one in explained} - functions)
    return found


def judged_of(paths: Iterable[Path], only: str) -> tuple[dict[Mutant, set[str]], Counter[str]]:
    """What mutmut found of the modules that match `only`, and its counts by package and status."""
    judged: dict[Mutant, set[str]] = {}
    counts: Counter[str] = Counter()
    for path in paths:
        data = SourceFileMutationData(path=path)
        data.load()
        for name, code in data.exit_code_by_key.items():
            if fnmatch(name, only):
                status = status_by_exit_code[code]
                judged.setdefault(mutant_of(name, path), set()).add(status)
                counts[f"{path.parent.name} {status}"] += 1
    return judged, counts


def mutant_of(name: str, path: Path) -> Mutant:
    function, of_class = orig_function_and_class_names_from_key(name)
    module = name.rpartition(".")[0].removeprefix("orchestrator.")
    both = read_functions_from_index(name, path)
    if both is None:
        raise SystemExit(f"mutants/ holds no source of {name}; remove mutants/ and run it again")
    line, becomes = changed(*(_code(one) for one in both))
    return Mutant(f"{module}.{of_class}.{function}" if of_class else f"{module}.{function}", line, becomes)


def _code(function: object) -> str:
    import libcst  # noqa: PLC0415 - slow, and only this function needs it

    return libcst.Module([function]).code  # type: ignore[list-item]


def changed(before: str, after: str) -> tuple[str, str]:
    """The lines that differ, joined by one space."""
    lines = [one for one in difflib.ndiff(before.splitlines(), after.splitlines()) if one[:1] in "+-"]
    return _joined(lines, "-"), _joined(lines, "+")


def _joined(lines: list[str], sign: str) -> str:
    return " ".join(line[1:].strip() for line in lines if line.startswith(sign))


def explained_in(text: str, only: str) -> set[Mutant]:
    """Of a line several mutants may have the same reason."""
    return {
        Mutant(one["function"], one["line"], becomes)
        for one in tomllib.loads(text)["mutant"]
        if one["why"].strip() and fnmatch(f"orchestrator.{one['function']}", only)
        for becomes in one["becomes"]
    }


def unmutated(paths: Iterable[Path], only: str) -> Iterator[str]:
    """Functions that mutmut leaves alone for their decorators: `name = decorator(_name)` shows it the body."""
    for path in paths:
        module = ".".join(path.with_suffix("").parts[1:])
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                name, by = f"{module}.{node.name}", {ast.unparse(one) for one in node.decorator_list}
                if by - set(MUTATED_DECORATORS) and fnmatch(name, only):
                    yield f"  {name}"


def main(only: str) -> int:
    paths = list(walk_mutatable_files())
    judged, counts = judged_of(paths, only)
    found = report(judged, counts, explained_in(EXPLAINED.read_text("utf-8"), only))
    found.blame("Never mutated, because it is decorated", unmutated(paths, only))
    for name, count in sorted(counts.items()):
        print(f"{count:6}  {name}")
    for headline, told in found.wrong.items():
        print(f"\n{headline}: {len(told)}", *told, sep="\n")
    if not counts:
        print(f"No mutant matches {only!r}.")
    return 1 if found.wrong or not counts else 0


if __name__ == "__main__":
    raise SystemExit(main(f"orchestrator.{sys.argv[1] if len(sys.argv) > 1 else ''}*"))
