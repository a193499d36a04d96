"""What an installation lacks: read from settings alone, and by trying. /ready, /status and doctor show it."""

import asyncio
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from orchestrator.agents import claude, question, sandbox
from orchestrator.agents.folders import Room
from orchestrator.agents.runtime import ClaudeRuntime
from orchestrator.agents.sandboxes import Sandboxes
from orchestrator.agents.version import cli_version
from orchestrator.config import Secrets, Settings
from orchestrator.configfile import Directory
from orchestrator.db import Database
from orchestrator.domain.errors import OrchestratorError
from orchestrator.domain.finding import Finding, Level, Params, about
from orchestrator.domain.model import Project, TriggerKind
from orchestrator.domain.run import Outcome
from orchestrator.ports import Forge, Tracker
from orchestrator.qg.review import asks_agent

LEAST_FREE_BYTES = 200 * 1024 * 1024
PINNED_CLI = "2.1.330"
MOST_ASKED = 20
"""Projects whose board is asked for: Plane answers 60 calls a minute."""


def of_settings(settings: Settings, directory: Directory) -> list[Finding]:
    """What the settings and the file say, without a look at anything else."""
    return [
        *_missing_settings(settings),
        *_missing_projects(settings, directory),
        *_too_few(directory),
        *_roles(settings, directory),
    ]


def _missing_settings(settings: Settings) -> Iterator[Finding]:
    if not (settings.plane_api_token and settings.plane_workspace_slug):
        yield Finding("no_plane_token", Level.MISSING)
    if not settings.gitea_token:
        yield Finding("no_gitea_token", Level.MISSING)
    if not (settings.claude_oauth_token or settings.anthropic_api_key or settings.claude_base_url):
        yield Finding("no_model_credential", Level.MISSING)
    if not settings.api_token:
        yield Finding("no_api_token", Level.MISSING)


def _missing_projects(settings: Settings, directory: Directory) -> Iterator[Finding]:
    if not directory.projects:
        yield Finding("no_projects", Level.MISSING, about(config=settings.config))
    elif not any(project.approvers for project in directory.projects):
        yield Finding("no_approvers", Level.MISSING, about(config=settings.config))


def _too_few(directory: Directory) -> Iterator[Finding]:
    for project in directory.projects:
        needed, there = project.gates.approvals, len(project.approvers)
        if 0 < there < needed:
            counts = about(repo=project.repo, needed=needed, there=there)
            yield Finding("too_few_approvers", Level.MISSING, counts)


def _roles(settings: Settings, directory: Directory) -> Iterator[Finding]:
    """What the tokens alone tell; whose they are is asked by `of_roles`."""
    if not any(asks_agent(project) for project in directory.projects):
        return
    reviewer = _values(settings.gitea_token_reviewer)
    if not reviewer:
        yield Finding("no_reviewer_user", Level.MISSING)
    elif reviewer & _values(settings.gitea_token_developer):
        yield Finding("one_gitea_user", Level.MISSING, said="one_token")
    elif reviewer & _values(settings.gitea_token):
        yield Finding("one_gitea_user", Level.MISSING, said="orchestrators_token")


def _values(secrets: Secrets) -> set[str]:
    return {one.get_secret_value() for one in secrets}


def of_fault(error: OrchestratorError, level: Level = Level.MISSING, *, said: str = "") -> Finding:
    """What a neighbour or an adapter says stays as it is, within a sentence of ours. A finding of another kind may
    have the same code, so its words are kept apart.
    """
    words = f"fault_{error.code}"
    return Finding(error.code, level, about(message=error.message, hint=error.hint), said or words, words)


def of_cli(settings: Settings, *, tools: Path = Path(".tools/claude")) -> Finding:
    """Starts `claude --version`; takes about a tenth of a second."""
    version = cli_version(settings.claude_bin)
    if version is None:
        mending = "cli_elsewhere" if tools.exists() else ""
        return Finding("no_cli", Level.MISSING, about(cli=settings.claude_bin, tools=tools), mending=mending)
    if PINNED_CLI not in version:
        return Finding("other_cli", Level.MISSING, about(version=version, tested=PINNED_CLI))
    return Finding("cli", Level.FINE, about(version=version))


async def of_model(runtime: ClaudeRuntime) -> Finding:
    """Asks it something, which costs a few cents; takes seconds, or a minute or two where it refuses."""
    try:
        end = await question.ask(runtime)
    except OrchestratorError as error:
        return of_fault(error, Level.BROKEN, said="model_not_asked")
    if end.outcome in _ANSWERED:
        return Finding("model", Level.FINE, about(model=end.model, usd=f"{end.usage.cost_usd:.3f}"))
    how = about(reason=end.reason or end.outcome, detail=end.detail)
    mending = "sign_in_again" if end.reason == claude.AUTHENTICATION else _MENDED.get(end.outcome, "other_model")
    return Finding("no_model", Level.BROKEN, how, "" if end.detail else "model_silent", mending)


_ANSWERED = (Outcome.SUCCEEDED, Outcome.TURN_CAP)
"""One that calls a tool in place of a word is there, too."""
_MENDED = {
    Outcome.USAGE_LIMIT: "usage_limit",
    Outcome.UNAVAILABLE: "come_again",
    Outcome.TIMED_OUT: "come_again",
    Outcome.STALLED: "come_again",
}


def of_sandbox(sandboxes: Sandboxes | None) -> list[Finding]:
    """Tries the levels, once; takes some tenths of a second then."""
    if sandboxes is None:
        return []
    measured = sandboxes.measured()
    try:
        level = sandboxes.admitted()
    except OrchestratorError as error:
        params = about(message=error.message, hint=error.hint, sandbox=measured.sandbox)
        return [Finding("sandbox_too_weak", Level.MISSING, params, without=about(**sandboxes.lacks()))]
    if level == sandbox.NONE:
        return [Finding("no_sandbox", Level.MISSING)]
    without = about(**dict(sorted(measured.missing.items())))
    if sandbox.Capability.LANDLOCK not in level.capabilities:
        return [_no_landlock(level, without)]
    params = about(sandbox=level, abi=level.landlock_abi)
    return [Finding("sandbox", Level.FINE, params, without=without), *_old_landlock(level)]


def _no_landlock(level: sandbox.Sandbox, without: Params) -> Finding:
    """Accepted by the operator, and still not fine: files are closed, the network is not."""
    said = "landlock_without_tcp" if level.landlock_abi > 0 else ""
    return Finding("no_landlock", Level.MISSING, about(sandbox=level), said, without=without)


def _old_landlock(level: sandbox.Sandbox) -> Iterator[Finding]:
    """Own processes or an own uid close what scopes would."""
    is_apart = level.has_bwrap or level.has_user
    if sandbox.LANDLOCK_TCP_ABI <= level.landlock_abi < sandbox.LANDLOCK_SCOPES_ABI and not is_apart:
        yield Finding("old_landlock", Level.MISSING, about(abi=level.landlock_abi))


async def of_database(database: Database) -> Finding:
    """Really writes: on a read-only or full disk only that tells."""
    folder = database.path.parent
    try:
        await database.prove_writable()
        await asyncio.to_thread(_try_write, folder)
    except (OrchestratorError, OSError) as error:
        return Finding("no_writes", Level.BROKEN, about(message=error, folder=folder, uid=os.getuid()))
    return Finding("database", Level.FINE, about(path=database.path))


def _try_write(folder: Path) -> None:
    probe = folder / f".probe-{os.getpid()}"
    try:
        probe.write_bytes(b"x" * 4096)
    finally:
        probe.unlink(missing_ok=True)


def of_disk(folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free
    if free < LEAST_FREE_BYTES:
        return Finding("disk_low", Level.BROKEN, about(mib=free // 2**20, folder=folder))
    return Finding("disk", Level.FINE, about(gib=free // 2**30, folder=folder))


def of_runs_disk(room: Room) -> list[Finding]:
    """As it was last measured."""
    if not room.is_full:
        return []
    held = about(used=room.used_bytes // 2**20, most=room.most_bytes // 2**20)
    return [Finding("runs_disk_full", Level.MISSING, held)]


async def of_roles(orchestrator: Forge | None, developer: Forge | None, reviewer: Forge | None) -> list[Finding]:
    """Whose tokens the agents have. Without a developer's own, the orchestrator's user opens pull requests."""
    author = developer or orchestrator
    if reviewer is None or author is None:
        return []
    try:
        writes, reviews = await author.whoami(), await reviewer.whoami()
        ours = await orchestrator.whoami() if orchestrator else ""
    except OrchestratorError as error:
        return [of_fault(error, said="role_fault")]
    if writes.casefold() == reviews.casefold():
        return [Finding("one_gitea_user", Level.MISSING, about(login=reviews), "one_user")]
    if ours.casefold() == reviews.casefold():
        return [Finding("one_gitea_user", Level.MISSING, about(login=reviews), "orchestrators_user")]
    return [Finding("roles", Level.FINE, about(writes=writes, reviews=reviews))]


async def of_board(tracker: Tracker | None, directory: Directory) -> list[Finding]:
    """Whether Plane has the states and labels that the projects name; asks only for projects that name any."""
    if tracker is None:
        return []
    found: list[Finding] = []
    try:
        for project in [one for one in directory.projects if _names_any(one)][:MOST_ASKED]:
            found += await _of_project(tracker, project)
    except OrchestratorError as error:
        found.append(of_fault(error))
    return found


def _names_any(project: Project) -> bool:
    return bool(project.states) or project.trigger.kind in {TriggerKind.STATE, TriggerKind.LABEL}


async def _of_project(tracker: Tracker, project: Project) -> list[Finding]:
    trigger, found = project.trigger, list[Finding]()
    wanted = {name for _, name in project.states}
    if trigger.kind is TriggerKind.STATE:
        wanted.add(trigger.value)
    if wanted:
        there = {state.name for state in await tracker.states(project.id)}
        listed = ", ".join(sorted(there))
        for name in sorted(wanted - there):
            params = about(repo=project.repo, name=name, there=listed)
            found.append(Finding("no_such_state", Level.MISSING, params))
    if trigger.kind is TriggerKind.LABEL and trigger.value not in (await tracker.labels(project.id)).values():
        found.append(Finding("no_such_label", Level.MISSING, about(repo=project.repo, name=trigger.value)))
    return found


async def of_tracker(tracker: Tracker | None) -> list[Finding]:
    if tracker is None:
        return []
    try:
        who = await tracker.whoami()
    except OrchestratorError as error:
        return [of_fault(error)]
    return [Finding("plane", Level.FINE, about(who=who))]


async def of_forge(forge: Forge | None) -> list[Finding]:
    if forge is None:
        return []
    try:
        who = await forge.whoami()
    except OrchestratorError as error:
        return [of_fault(error)]
    return [Finding("gitea", Level.FINE, about(who=who))]
