"""orchestrator.yaml: which project goes to which repository, what its gates ask for, and who is who.

The schema that ships beside this module says what may stand in the file; faults name file and line.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from orchestrator.domain.model import (
    PROTECTED_PATHS,
    CiPolicy,
    DocumentFiles,
    GateOptions,
    Person,
    Project,
    ProjectId,
    RepoName,
    ReviewPolicy,
    Stage,
    Trigger,
    TriggerKind,
    UserId,
)
from orchestrator.domain.roles import Language
from orchestrator.yamlcheck import Check, is_null

MAX_FILE_BYTES = 1024 * 1024
ADDS = "+"
"""Before a glob of protected_paths: added to the default instead of put in its place."""


class ConfigFault(Exception):
    """The file cannot be used; `faults` has one `file:line: …` for each reason."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


@dataclass(frozen=True, slots=True)
class Directory:
    """Projects and people, as configured. Empty when there is no file."""

    projects: tuple[Project, ...] = ()
    people: tuple[Person, ...] = ()

    def project(self, project: ProjectId | None) -> Project | None:
        return next((one for one in self.projects if one.id == project), None)

    def project_of_repo(self, repo: RepoName) -> Project | None:
        return next((one for one in self.projects if one.repo.is_same(repo)), None)


@cache
def schema() -> Mapping[str, Any]:
    """The JSON Schema that ships with us; editors use it too."""
    text = files("orchestrator").joinpath("schemas", "orchestrator.schema.json").read_text(encoding="utf-8")
    found: Mapping[str, Any] = json.loads(text)
    return found


def load(path: Path) -> Directory:
    """An empty directory when the file is not there; raises ConfigFault when it cannot be used."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ConfigFault([f"{path}: larger than {MAX_FILE_BYTES} bytes"])
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return Directory()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigFault([f"{path}: cannot be read: {error}"]) from None
    return parse(text, str(path))


def parse(text: str, name: str = "orchestrator.yaml") -> Directory:
    root = _composed(text, name)
    if root is None or is_null(root):
        return Directory()
    check = Check(name, schema())
    value = check.value(root, schema(), "the file")
    if isinstance(root, yaml.MappingNode):
        _check_projects(check, root, value)
        _check_people(check, root, value)
    if check.faults:
        raise ConfigFault(check.faults)
    return _directory(value)


def _composed(text: str, name: str) -> yaml.Node | None:
    try:
        root: yaml.Node | None = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else 1
        raise ConfigFault([f"{name}:{line}: not valid YAML: {getattr(error, 'problem', error)}"]) from None
    except RecursionError:
        raise ConfigFault([f"{name}:1: not valid YAML: nested too deeply"]) from None
    return root


# --- what a schema cannot say


def _check_projects(check: Check, root: yaml.MappingNode, value: Mapping[str, Any]) -> None:
    projects: set[str] = set()
    repositories: set[str] = set()
    for node, given in zip(_entry(root, "projects"), value.get("projects") or (), strict=False):
        ident, repo = str(given.get("plane_project", "")).lower(), given.get("repository", "")
        if ident and ident in projects:
            check.fault(node, f"plane_project {ident} is mapped twice")
        elif repo and repo.casefold() in repositories:
            check.fault(node, f"repository {repo} belongs to another project already")
        projects.add(ident)
        repositories.add(repo.casefold())
        _check_documents(check, node, given.get("documents", {}))
        _check_paths(check, node, given.get("gates", {}).get("protected_paths") or ())


def _check_people(check: Check, root: yaml.MappingNode, value: Mapping[str, Any]) -> None:
    """Who stands there twice might be an approver in one line and none in the other."""
    known: set[tuple[str, str]] = set()
    for node, given in zip(_entry(root, "people"), value.get("people") or (), strict=False):
        for name in ("plane_user", "gitea_login"):
            one = (name, str(given.get(name, "")).casefold())
            if one in known:
                check.fault(node, f"{name} {one[1]} belongs to another entry already")
            known |= {one} if one[1] else set()


def _entry(node: yaml.Node, name: str) -> list[yaml.Node]:
    """The list under a key; empty when there is none."""
    found = [value for key, value in node.value if key.value == name]
    return found[0].value if found and isinstance(found[0], yaml.SequenceNode) else []


def _check_documents(check: Check, node: yaml.Node, given: Mapping[str, str]) -> None:
    names = [str(given.get(one.name, one.default)).casefold() for one in fields(DocumentFiles)]
    for name in sorted({one for one in names if names.count(one) > 1}):
        check.fault(_inside(node, "documents"), f"documents: two of them are called {name!r}")


def _check_paths(check: Check, node: yaml.Node, given: Sequence[str | None]) -> None:
    added = [one.startswith(ADDS) for one in given if one]
    if any(added) and not all(added):
        text = f"protected_paths: either every entry begins with {ADDS}, and adds to the default, or none does"
        check.fault(_inside(_inside(node, "gates"), "protected_paths"), text)


def _inside(node: yaml.Node, name: str) -> yaml.Node:
    found: yaml.Node = next(value for key, value in node.value if key.value == name)
    return found


# --- values


def _directory(value: Mapping[str, Any]) -> Directory:
    people = tuple(_person(one) for one in value.get("people", ()))
    approvers = tuple(person.plane_user for person in people if person.approver)
    return Directory(tuple(_project(one, approvers) for one in value.get("projects", ())), people)


def _person(given: Mapping[str, Any]) -> Person:
    user = UserId(given["plane_user"].lower())
    rights = {name: given.get(name, False) for name in ("approver", "admin")}
    return Person(user, given.get("gitea_login", ""), **rights)


def _project(given: Mapping[str, Any], approvers: tuple[UserId, ...]) -> Project:
    optional: dict[str, Any] = {}
    if "base_branch" in given:
        optional["base_branch"] = given["base_branch"]
    if "language" in given:
        optional["language"] = Language(given["language"])
    states = given.get("states", {})
    return Project(
        id=ProjectId(given["plane_project"].lower()),
        repo=RepoName.parse(given["repository"]),
        trigger=_trigger(given.get("trigger", TriggerKind.NEW_ITEM.value)),
        approvers=approvers,
        gates=_gates(given.get("gates", {})),
        documents=DocumentFiles(**given.get("documents", {})),
        states=tuple((stage, states[stage]) for stage in Stage if stage in states),
        **optional,
    )


def _trigger(given: str | Mapping[str, str]) -> Trigger:
    if isinstance(given, str):
        return Trigger()
    (kind, value), *_ = given.items()
    return Trigger(TriggerKind(kind), value.lower() if kind == TriggerKind.ASSIGNEE else value)


_MADE: Mapping[str, Any] = {"review": ReviewPolicy, "ci": CiPolicy}


def _gates(given: Mapping[str, Any]) -> GateOptions:
    made: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in given.items()
    }
    made |= {name: make(given[name]) for name, make in _MADE.items() if name in given}
    if "protected_paths" in made:
        made["protected_paths"] = _protected(made["protected_paths"])
    return GateOptions(**made)


def _protected(given: tuple[str, ...]) -> tuple[str, ...]:
    if given and given[0].startswith(ADDS):
        return tuple(dict.fromkeys((*PROTECTED_PATHS, *(one.removeprefix(ADDS) for one in given))))
    return given


# --- shown


def effective(directory: Directory) -> dict[str, Any]:
    """The file as if every default stood in it: reading it again gives the same directory."""
    people = [{one.name: getattr(person, one.name) for one in fields(Person)} for person in directory.people]
    return {"projects": [dict(_shown(one)) for one in directory.projects], "people": people}


def _shown(project: Project) -> Iterator[tuple[str, Any]]:
    yield "plane_project", str(project.id)
    yield "repository", str(project.repo)
    yield "base_branch", project.base_branch
    yield "language", project.language.value
    kind = project.trigger.kind
    yield "trigger", kind.value if kind is TriggerKind.NEW_ITEM else {kind.value: project.trigger.value}
    yield "gates", {one.name: _plain(getattr(project.gates, one.name)) for one in fields(GateOptions)}
    yield "documents", {one.name: getattr(project.documents, one.name) for one in fields(DocumentFiles)}
    yield "states", {stage.value: name for stage, name in project.states}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    return value.value if isinstance(value, ReviewPolicy | CiPolicy) else value
