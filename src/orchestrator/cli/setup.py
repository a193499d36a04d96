"""Reads settings and orchestrator.yaml for a command; faults become lines and exit code 3."""

from typing import TYPE_CHECKING

import typer

from orchestrator.cli.screen import say
from orchestrator.config import Settings, SettingsFault
from orchestrator.config import load as load_settings

if TYPE_CHECKING:
    from orchestrator.configfile import Directory

__all__ = ["CONFIGURATION", "NOT_FOUND", "read", "say", "settings"]
CONFIGURATION = 3
NOT_FOUND = 4


def settings() -> Settings:
    try:
        return load_settings()
    except SettingsFault as error:
        say(*error.faults)
        raise typer.Exit(CONFIGURATION) from None


def read() -> tuple[Settings, "Directory"]:
    from orchestrator import configfile  # noqa: PLC0415 - who asks a server does not need it

    found = settings()
    try:
        return found, configfile.load(found.config)
    except configfile.ConfigFault as error:
        say(*error.faults)
        raise typer.Exit(CONFIGURATION) from None
