"""`orch config validate` and `orch config show`: what is configured, as it is understood. No secret is printed."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
import yaml

from orchestrator.cli import screen
from orchestrator.cli.setup import CONFIGURATION, read, say
from orchestrator.cli.wishes import Wishes
from orchestrator.config import Settings, SettingsFault, setting_names
from orchestrator.config import load as load_settings
from orchestrator.configfile import ConfigFault, Directory, effective
from orchestrator.configfile import load as load_directory

_SECRET = "set"  # noqa: S105 - says that there is one, not what it is
_PASSWORD = re.compile(r"(?<=:)[^:@/]+(?=@)")
"""A database's address may hold one."""


def validate(file: Path | None) -> int:
    """Faults go to standard error, what is fine to standard output."""
    path = file or _configured()
    if not path.exists():
        say(f"{path}: is not there")
        return CONFIGURATION
    try:
        directory = load_directory(path)
    except ConfigFault as fault:
        say(*fault.faults)
        return CONFIGURATION
    for line in _fine(path, directory):
        print(line)
    return 0


def _configured() -> Path:
    try:
        return load_settings().config
    except SettingsFault as error:
        say(*error.faults)
        raise typer.Exit(CONFIGURATION) from None


def _fine(path: Path, directory: Directory) -> Iterator[str]:
    approvers = sum(person.approver for person in directory.people)
    counts = f"projects: {len(directory.projects)}, people: {len(directory.people)}, approvers: {approvers}"
    yield f"{path}: good ({counts})"
    for project in directory.projects:
        gates = project.gates
        asked = f"review {gates.review}, ci {gates.ci}, approvals {gates.approvals}"
        yield f"  {project.repo} from {project.base_branch}: {asked}, {len(project.states)} states shown"


def show(wishes: Wishes) -> int:
    settings, directory = read()
    shown = {"settings": dict(_settings(settings)), **effective(directory)}
    if screen.is_for_people(wishes):
        print(yaml.safe_dump(shown, allow_unicode=True, sort_keys=False), end="")
    else:
        screen.print_json(shown)
    return 0


def _settings(settings: Settings) -> Iterator[tuple[str, Any]]:
    """By variable; of a secret only whether it is set."""
    names = setting_names()
    for variable, name in names.items():
        value = getattr(settings, name)
        if variable.endswith("_FILE") and variable.removesuffix("_FILE") in names:
            continue
        if f"{variable}_FILE" in names:
            yield variable, _SECRET if value else None
        elif value is None or isinstance(value, int | float):
            yield variable, value
        elif isinstance(value, tuple):
            yield variable, [_PASSWORD.sub("***", str(one)) for one in value]
        else:
            yield variable, _PASSWORD.sub("***", str(value))
