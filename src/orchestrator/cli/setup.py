"""Reads settings and orchestrator.yaml for a command; faults become lines and exit code 3."""

import sys

import typer

from orchestrator.config import Settings, SettingsFault
from orchestrator.config import load as load_settings
from orchestrator.configfile import ConfigFault, Directory
from orchestrator.configfile import load as load_directory

CONFIGURATION = 3
NOT_FOUND = 4


def read() -> tuple[Settings, Directory]:
    try:
        settings = load_settings()
        return settings, load_directory(settings.config)
    except (SettingsFault, ConfigFault) as error:
        say(*error.faults)
        raise typer.Exit(CONFIGURATION) from None


def say(*lines: str) -> None:
    """To people, on standard error: standard output is for results."""
    for line in lines:
        print(line, file=sys.stderr)
