"""What an installation lacks: read from settings alone, and by trying. /ready, /status and doctor show it."""

import asyncio
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from orchestrator.agents.version import cli_version
from orchestrator.config import Settings
from orchestrator.configfile import Directory
from orchestrator.db import Database
from orchestrator.domain.errors import OrchestratorError
from orchestrator.domain.finding import Finding, Level
from orchestrator.ports import Forge, Tracker

LEAST_FREE_BYTES = 200 * 1024 * 1024
PINNED_CLI = "2.1.330"


def of_settings(settings: Settings, directory: Directory) -> list[Finding]:
    """What the settings and the file say, without a look at anything else."""
    return [*_missing_settings(settings), *_missing_projects(settings, directory), *_roles(settings)]


def _missing_settings(settings: Settings) -> Iterator[Finding]:
    if not (settings.plane_api_token and settings.plane_workspace_slug):
        yield Finding(
            "no_plane_token",
            Level.MISSING,
            "No Plane token: deliveries are journaled, their tasks wait.",
            "Set ORCH_PLANE_API_TOKEN and ORCH_PLANE_WORKSPACE_SLUG.",
        )
    if not settings.gitea_token:
        yield Finding(
            "no_gitea_token",
            Level.MISSING,
            "No Gitea token: no branch can be made, so tasks wait.",
            "Set ORCH_GITEA_TOKEN to the token of the orchestrator's own user.",
        )
    if not (settings.claude_oauth_token or settings.anthropic_api_key or settings.claude_base_url):
        yield Finding(
            "no_model_credential",
            Level.MISSING,
            "No credential for the model: agents end with 'Not logged in'.",
            "Set ORCH_CLAUDE_OAUTH_TOKEN (from `claude setup-token`) or ORCH_ANTHROPIC_API_KEY.",
        )
    if not settings.api_token:
        yield Finding(
            "no_api_token",
            Level.MISSING,
            "No API token: /status and the API answer only unforwarded requests from this machine.",
            "Set ORCH_API_TOKEN to reach them from elsewhere.",
        )


def _missing_projects(settings: Settings, directory: Directory) -> Iterator[Finding]:
    if not directory.projects:
        yield Finding(
            "no_projects",
            Level.MISSING,
            f"No project is mapped ({settings.config} is absent or has none): every task waits.",
            "Copy orchestrator.yaml.example and map a Plane project to a repository.",
        )
    elif not any(project.approvers for project in directory.projects):
        yield Finding(
            "no_approvers",
            Level.MISSING,
            "Nobody may approve documents.",
            f"Give at least one person 'approver: true' in {settings.config}.",
        )


def _roles(settings: Settings) -> Iterator[Finding]:
    developer, reviewer = settings.gitea_token_developer, settings.gitea_token_reviewer
    if developer and reviewer and developer[0].get_secret_value() == reviewer[0].get_secret_value():
        yield Finding(
            "one_gitea_user",
            Level.MISSING,
            "Developer and reviewer share one Gitea token, so a review would approve its own work.",
            "Make two Gitea users and give ORCH_GITEA_TOKEN_DEVELOPER and …_REVIEWER a token of each.",
        )


def of_cli(settings: Settings, *, tools: Path = Path(".tools/claude")) -> Finding:
    """Starts `claude --version`; takes about a tenth of a second."""
    version = cli_version(settings.claude_bin)
    if version is None:
        hint = f" There is one at {tools}." if tools.exists() else ""
        mend = f"Set ORCH_CLAUDE_BIN to it; `make setup` installs it to .tools/claude.{hint}"
        return Finding("no_cli", Level.MISSING, f"No Claude Code CLI: {settings.claude_bin!r} does not run.", mend)
    if PINNED_CLI not in version:
        mend = f"Install {PINNED_CLI}; others parse prompts and settings differently."
        return Finding("other_cli", Level.MISSING, f"The CLI is {version}, tested is {PINNED_CLI}.", mend)
    return Finding("cli", Level.FINE, f"The CLI runs: {version}.")


async def of_database(database: Database) -> Finding:
    """Really writes: on a read-only or full disk only that tells."""
    try:
        await database.prove_writable()
        await asyncio.to_thread(_try_write, database.path.parent)
    except (OrchestratorError, OSError) as error:
        mend = (
            f"Check that {database.path.parent} is writable for uid {os.getuid()} and that its disk is not full."
        )
        return Finding("no_writes", Level.BROKEN, f"Nothing can be stored: {error}", mend)
    return Finding("database", Level.FINE, f"The database can be written ({database.path}).")


def _try_write(folder: Path) -> None:
    probe = folder / f".probe-{os.getpid()}"
    try:
        probe.write_bytes(b"x" * 4096)
    finally:
        probe.unlink(missing_ok=True)


def of_disk(folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free
    if free < LEAST_FREE_BYTES:
        mend = "Free some space, or move ORCH_DATA_DIR."
        return Finding("disk_low", Level.BROKEN, f"Only {free // 2**20} MiB are free at {folder}.", mend)
    return Finding("disk", Level.FINE, f"{free // 2**30} GiB are free at {folder}.")


async def of_tracker(tracker: Tracker | None) -> list[Finding]:
    if tracker is None:
        return []
    try:
        who = await tracker.whoami()
    except OrchestratorError as error:
        return [Finding(error.code, Level.MISSING, error.message, error.hint)]
    return [Finding("plane", Level.FINE, f"Plane answers; we are user {who} there.")]


async def of_forge(forge: Forge | None) -> list[Finding]:
    if forge is None:
        return []
    try:
        who = await forge.whoami()
    except OrchestratorError as error:
        return [Finding(error.code, Level.MISSING, error.message, error.hint)]
    return [Finding("gitea", Level.FINE, f"Gitea answers; we are {who} there.")]
