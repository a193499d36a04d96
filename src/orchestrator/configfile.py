"""orchestrator.yaml: which project goes to which repository, and who is who. Faults name file and line."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar
from uuid import UUID

import yaml

from orchestrator.domain.model import (
    CiPolicy,
    GateOptions,
    Language,
    Person,
    Project,
    ProjectId,
    RepoName,
    ReviewPolicy,
    Trigger,
    TriggerKind,
    UserId,
)

MAX_FILE_BYTES = 1024 * 1024
T = TypeVar("T")


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
        return next((one for one in self.projects if one.repo == repo), None)


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
    reader = _Reader(name)
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else 1
        raise ConfigFault([f"{name}:{line}: not valid YAML: {getattr(error, 'problem', error)}"]) from None
    directory = reader.directory(root) if root is not None else Directory()
    if reader.faults:
        raise ConfigFault(reader.faults)
    return directory


@dataclass(slots=True)
class _Reader:
    """Walks YAML nodes (which know their lines) and gathers every fault instead of stopping at the first."""

    name: str
    faults: list[str] = field(default_factory=list)

    def fault(self, node: yaml.Node, text: str) -> None:
        self.faults.append(f"{self.name}:{node.start_mark.line + 1}: {text}")

    def directory(self, root: yaml.Node) -> Directory:
        entries = self.mapping(root, {"projects", "people"}, "the file")
        people = tuple(p for n in self.items(entries.get("people")) if (p := self.person(n)))
        approvers = tuple(person.plane_user for person in people if person.approver)
        projects: list[Project] = []
        for node in self.items(entries.get("projects")):
            project = self.project(node, approvers)
            if project and any(project.id == other.id for other in projects):
                self.fault(node, f"plane_project {project.id} is mapped twice")
            elif project and any(project.repo == other.repo for other in projects):
                self.fault(node, f"repository {project.repo} belongs to another project already")
            elif project:
                projects.append(project)
        return Directory(tuple(projects), people)

    def project(self, node: yaml.Node, approvers: tuple[UserId, ...]) -> Project | None:
        known = {"plane_project", "repository", "base_branch", "language", "trigger", "gates"}
        entries = self.mapping(node, known, "a project")
        ident = self.required(node, entries, "plane_project", _uuid)
        repo = self.required(node, entries, "repository", RepoName.parse)
        if ident is None or repo is None:
            return None
        return Project(
            id=ProjectId(ident),
            repo=repo,
            base_branch=self.optional(entries, "base_branch", _branch, "main"),
            language=self.optional(entries, "language", Language, Language.EN),
            trigger=self.trigger(entries.get("trigger")),
            approvers=approvers,
            gates=self.gates(entries.get("gates")),
        )

    def trigger(self, node: yaml.Node | None) -> Trigger:
        if node is None:
            return Trigger()
        if isinstance(node, yaml.ScalarNode) and node.value == TriggerKind.NEW_ITEM:
            return Trigger()
        kinds = {kind.value for kind in TriggerKind} - {TriggerKind.NEW_ITEM.value}
        entries = self.mapping(node, kinds, "trigger")
        if len(entries) != 1:
            self.fault(node, "trigger is new_item, or one of label, state, assignee with a value")
            return Trigger()
        (kind, value), *_ = entries.items()
        return Trigger(TriggerKind(kind), self.scalar(value))

    def gates(self, node: yaml.Node | None) -> GateOptions:
        if node is None:
            return GateOptions()
        entries = self.mapping(node, {"review", "approvals", "ci", "required_contexts"}, "gates")
        return GateOptions(
            review=self.optional(entries, "review", ReviewPolicy, ReviewPolicy.AGENT),
            approvals=self.optional(entries, "approvals", _positive, 1),
            ci=self.optional(entries, "ci", CiPolicy, CiPolicy.REQUIRED),
            required_contexts=tuple(self.scalar(n) for n in self.items(entries.get("required_contexts"))),
        )

    def person(self, node: yaml.Node) -> Person | None:
        entries = self.mapping(node, {"plane_user", "gitea_login", "approver"}, "a person")
        user = self.required(node, entries, "plane_user", _uuid)
        if user is None:
            return None
        return Person(
            plane_user=UserId(user),
            gitea_login=self.optional(entries, "gitea_login", str, ""),
            approver=self.optional(entries, "approver", _truth, default=False),
        )

    def mapping(self, node: yaml.Node, known: set[str], what: str) -> dict[str, yaml.Node]:
        if not isinstance(node, yaml.MappingNode):
            self.fault(node, f"{what} must be a mapping")
            return {}
        entries: dict[str, yaml.Node] = {}
        for key, value in node.value:
            name = self.scalar(key)
            if name not in known:
                self.fault(key, f"{name!r} is unknown in {what}; known are {', '.join(sorted(known))}")
            elif name in entries:
                self.fault(key, f"{name!r} stands twice in {what}")
            else:
                entries[name] = value
        return entries

    def items(self, node: yaml.Node | None) -> Iterator[yaml.Node]:
        if node is None or (isinstance(node, yaml.ScalarNode) and node.value in {"", "null", "~"}):
            return
        if isinstance(node, yaml.SequenceNode):
            yield from node.value
        else:
            self.fault(node, "a list is wanted here")

    def scalar(self, node: yaml.Node) -> str:
        if isinstance(node, yaml.ScalarNode):
            return str(node.value)
        self.fault(node, "a single value is wanted here")
        return ""

    def required(
        self, node: yaml.Node, entries: dict[str, yaml.Node], name: str, make: Callable[[str], T]
    ) -> T | None:
        if name not in entries:
            self.fault(node, f"{name} is missing")
            return None
        return self.made(entries[name], name, make)

    def optional(self, entries: dict[str, yaml.Node], name: str, make: Callable[[str], T], default: T) -> T:
        made = self.made(entries[name], name, make) if name in entries else None
        return default if made is None else made

    def made(self, node: yaml.Node, name: str, make: Callable[[str], T]) -> T | None:
        try:
            return make(self.scalar(node))
        except ValueError as error:
            self.fault(node, f"{name}: {error}")
            return None


def _uuid(text: str) -> str:
    try:
        return str(UUID(text))
    except ValueError:
        raise ValueError(f"{text[:60]!r} is not a uuid (Plane shows it in the project's address)") from None


def _branch(text: str) -> str:
    bad = not text or text.startswith(("-", "/", ".")) or text.endswith(("/", ".", ".lock")) or ".." in text
    if bad or any(char <= " " or char in "~^:?*[\\\x7f" for char in text) or "@{" in text or "//" in text:
        raise ValueError(f"{text[:60]!r} is not a branch name")
    return text


def _positive(text: str) -> int:
    number = int(text)
    if not 1 <= number <= 20:
        raise ValueError("must be between 1 and 20")
    return number


def _truth(text: str) -> bool:
    if text.lower() in {"true", "yes", "on"}:
        return True
    if text.lower() in {"false", "no", "off"}:
        return False
    raise ValueError(f"{text[:20]!r} is neither true nor false")
