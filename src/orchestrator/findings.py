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
from orchestrator.domain.finding import Finding, Level
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
            "Nobody may approve documents: QG-1 and QG-2 stay closed.",
            f"Give at least one person 'approver: true' in {settings.config}.",
        )


def _too_few(directory: Directory) -> Iterator[Finding]:
    for project in directory.projects:
        needed, there = project.gates.approvals, len(project.approvers)
        if 0 < there < needed:
            yield Finding(
                "too_few_approvers",
                Level.MISSING,
                f"{project.repo} asks for {needed} approvals and has {there} approvers: no document passes.",
                "Lower 'approvals' or give more people 'approver: true' in orchestrator.yaml.",
            )


def _roles(settings: Settings, directory: Directory) -> Iterator[Finding]:
    """What the tokens alone tell; whose they are is asked by `of_roles`."""
    if not any(asks_agent(project) for project in directory.projects):
        return
    reviewer = _values(settings.gitea_token_reviewer)
    if not reviewer:
        yield Finding(
            "no_reviewer_user",
            Level.MISSING,
            f"The reviewer has no Gitea user of its own: its verdict is only a comment, and {_ASKED}",
            "Make a Gitea user for it and set ORCH_GITEA_TOKEN_REVIEWER; or set 'review: human'.",
        )
    elif reviewer & _values(settings.gitea_token_developer):
        yield _one_user("Developer and reviewer share one Gitea token")
    elif reviewer & _values(settings.gitea_token):
        yield _one_user("The reviewer has the orchestrator's Gitea token")


def _values(secrets: Secrets) -> set[str]:
    return {one.get_secret_value() for one in secrets}


_ASKED = "QG-5 asks a person to approve each pull request."


def _one_user(what: str) -> Finding:
    return Finding(
        "one_gitea_user",
        Level.MISSING,
        f"{what}, and nobody approves their own work: {_ASKED}",
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


async def of_model(runtime: ClaudeRuntime) -> Finding:
    """Asks it something, which costs a few cents; takes seconds, or a minute or two where it refuses."""
    try:
        end = await question.ask(runtime)
    except OrchestratorError as error:
        return Finding(error.code, Level.BROKEN, f"The model was not asked: {error.message}", error.hint)
    if end.outcome in _ANSWERED:
        return Finding("model", Level.FINE, f"The model answers: {end.model}, for {end.usage.cost_usd:.3f} USD.")
    said = f"The model does not answer ({end.reason or end.outcome}): {end.detail or 'the CLI said nothing'}"
    mend = _SIGN_IN if end.reason == claude.AUTHENTICATION else _MODEL_MENDS.get(end.outcome, _OTHER_MODEL)
    return Finding("no_model", Level.BROKEN, said, mend)


_ANSWERED = (Outcome.SUCCEEDED, Outcome.TURN_CAP)
"""One that calls a tool in place of a word is there, too."""
_SIGN_IN = "Renew ORCH_CLAUDE_OAUTH_TOKEN (from `claude setup-token`) or ORCH_ANTHROPIC_API_KEY."
_OTHER_MODEL = "Set ORCH_CLAUDE_MODEL to a model that your account may use, or leave it out."
_COME_AGAIN = (
    "Look at ORCH_CLAUDE_BASE_URL, ORCH_CLAUDE_PROXY and the network; agents are started again by themselves."
)
_MODEL_MENDS = {
    Outcome.USAGE_LIMIT: "Wait for the account's reset: no agent starts before, and all go on by themselves then.",
    Outcome.UNAVAILABLE: _COME_AGAIN,
    Outcome.TIMED_OUT: _COME_AGAIN,
    Outcome.STALLED: _COME_AGAIN,
}


def of_sandbox(sandboxes: Sandboxes | None) -> list[Finding]:
    """Tries the levels, once; takes some tenths of a second then."""
    if sandboxes is None:
        return []
    measured = sandboxes.measured()
    try:
        level = sandboxes.admitted()
    except OrchestratorError as error:
        return [Finding(error.code, Level.MISSING, f"No agent is started: {error.message}", error.hint)]
    if level == sandbox.NONE:
        mend = "Only for people you trust, on a machine of its own. ORCH_SANDBOX=auto takes all that works."
        return [Finding("no_sandbox", Level.MISSING, "Agents run without a sandbox, as you asked.", mend)]
    lacks = "".join(f" Without {one}: {why}." for one, why in sorted(measured.missing.items()))
    if sandbox.Capability.LANDLOCK not in level.capabilities:
        return [_no_landlock(level, lacks)]
    found = Finding(
        "sandbox", Level.FINE, f"Agents are sandboxed: {level} (Landlock ABI {level.landlock_abi}).{lacks}"
    )
    return [found, *_old_landlock(level)]


def _no_landlock(level: sandbox.Sandbox, lacks: str) -> Finding:
    """Accepted by the operator, and still not fine: files are closed, the network is not."""
    is_filtered = level.landlock_abi > 0
    what = "TCP is open to agents" if is_filtered else "the whole network and rare calls of the kernel are open"
    return Finding(
        "no_landlock",
        Level.MISSING,
        f"Agents are sandboxed as {level} only. Without Landlock {what}: an agent reaches every address that this "
        f"machine reaches, can send away what it reads, and can listen.{lacks}",
        "Linux 6.7 or newer with Landlock on (boot parameter lsm=) and ORCH_SANDBOX=auto close that; "
        "ORCH_MIN_SANDBOX=landlock starts no agent without it. Else forbid the network around this service.",
    )


def _old_landlock(level: sandbox.Sandbox) -> Iterator[Finding]:
    """Own processes or an own uid close what scopes would."""
    is_apart = level.has_bwrap or level.has_user
    if sandbox.LANDLOCK_TCP_ABI <= level.landlock_abi < sandbox.LANDLOCK_SCOPES_ABI and not is_apart:
        yield Finding(
            "old_landlock",
            Level.MISSING,
            f"Landlock ABI {level.landlock_abi} lets agents signal processes of their own user.",
            "Linux 6.12 closes that (ABI 6); so does bubblewrap.",
        )


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


def of_runs_disk(room: Room) -> list[Finding]:
    """As it was last measured."""
    if not room.is_full:
        return []
    held = (
        f"The runs' folders hold {room.used_bytes // 2**20} MiB, above {room.most_bytes // 2**20}: no run begins."
    )
    mend = "Close tasks that are not wanted, raise ORCH_RUNS_MAX_DISK_BYTES or free the disk."
    return [Finding("runs_disk_full", Level.MISSING, held, mend)]


async def of_roles(orchestrator: Forge | None, developer: Forge | None, reviewer: Forge | None) -> list[Finding]:
    """Whose tokens the agents have. Without a developer's own, the orchestrator's user opens pull requests."""
    author = developer or orchestrator
    if reviewer is None or author is None:
        return []
    try:
        writes, reviews = await author.whoami(), await reviewer.whoami()
        ours = await orchestrator.whoami() if orchestrator else ""
    except OrchestratorError as error:
        return [Finding(error.code, Level.MISSING, f"A role's token: {error.message}", error.hint)]
    if writes.casefold() == reviews.casefold():
        return [_one_user(f"Developer and reviewer are one Gitea user, {reviews}")]
    if ours.casefold() == reviews.casefold():
        return [_one_user(f"The reviewer and the orchestrator are one Gitea user, {reviews}")]
    return [Finding("roles", Level.FINE, f"Pull requests are opened by {writes} and reviewed by {reviews}.")]


async def of_board(tracker: Tracker | None, directory: Directory) -> list[Finding]:
    """Whether Plane has the states and labels that the projects name; asks only for projects that name any."""
    if tracker is None:
        return []
    found: list[Finding] = []
    try:
        for project in [one for one in directory.projects if _names_any(one)][:MOST_ASKED]:
            found += await _of_project(tracker, project)
    except OrchestratorError as error:
        found.append(Finding(error.code, Level.MISSING, error.message, error.hint))
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
        mend = f"Plane has {', '.join(sorted(there))}: name one of them in orchestrator.yaml, or add it in Plane."
        found += [_no_such("state", name, project, mend) for name in sorted(wanted - there)]
    if trigger.kind is TriggerKind.LABEL and trigger.value not in (await tracker.labels(project.id)).values():
        mend = "Add it in Plane, or name another one in orchestrator.yaml: until then no task starts."
        found.append(_no_such("label", trigger.value, project, mend))
    return found


def _no_such(kind: str, name: str, project: Project, mend: str) -> Finding:
    return Finding(f"no_such_{kind}", Level.MISSING, f"{project.repo}: Plane has no {kind} {name!r}.", mend)


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
