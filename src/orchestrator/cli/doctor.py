"""`orch doctor`: every finding, with how to mend it."""

import asyncio
from dataclasses import asdict

from rich.console import Console

from orchestrator import findings, logs, main
from orchestrator.cli import screen
from orchestrator.cli.setup import read
from orchestrator.cli.wishes import Wishes
from orchestrator.config import Settings, secret_values, unsigned
from orchestrator.configfile import Directory
from orchestrator.domain.errors import OrchestratorError
from orchestrator.domain.finding import Finding, Level, about
from orchestrator.domain.roles import Language
from orchestrator.words.findings import Told, in_words

_MARKS = {Level.FINE: ("✓", "green"), Level.MISSING: ("!", "yellow"), Level.BROKEN: ("✗", "red")}


def run(wishes: Wishes, *, asks_model: bool = False) -> int:
    """0 when all is fine, 1 when something is missing or broken."""
    settings, directory = read()
    logs.set_up("error", secret_values(settings))
    asked = ["Plane, Gitea, the CLI and the sandbox", *(["the model"] if asks_model else [])]
    with screen.busy(wishes, f"Asking {', then '.join(asked)}"):
        examined = asyncio.run(examine(settings, directory, asks_model=asks_model))
    found = [in_words(one, Language.EN) for one in examined]
    if screen.is_for_people(wishes):
        _print(found, screen.console(wishes))
    else:
        screen.print_json([asdict(one) for one in found])
    return 0 if all(one.level is Level.FINE for one in found) else 1


async def examine(settings: Settings, directory: Directory, *, asks_model: bool = False) -> list[Finding]:
    orchestrator = main.build(settings, directory)
    found = [*orchestrator.problems, *_secrets(settings), await asyncio.to_thread(findings.of_cli, settings)]
    forges = orchestrator.forges
    found += [*await findings.of_tracker(orchestrator.tracker), *await findings.of_forge(forges.orchestrator)]
    found += await asyncio.to_thread(findings.of_sandbox, orchestrator.sandboxes)
    found += [await findings.of_model(orchestrator.asker())] if asks_model else []
    found += await findings.of_board(orchestrator.tracker, directory)
    found += await findings.of_roles(forges.orchestrator, forges.developer, forges.reviewer)
    for adapter in orchestrator.adapters:
        await adapter.aclose()
    try:
        orchestrator.database.open()
    except (OrchestratorError, OSError) as error:
        params = about(message=error, path=orchestrator.database.path)
        return [*found, Finding("no_database", Level.BROKEN, params)]
    found += [await findings.of_database(orchestrator.database), findings.of_disk(settings.data_dir)]
    found += await orchestrator.dispatch.findings()
    await orchestrator.database.aclose()
    return found


def _secrets(settings: Settings) -> list[Finding]:
    return [
        Finding("no_webhook_secret", Level.BROKEN, about(setting=setting, system=system))
        for setting, system in unsigned(settings)
    ]


def _print(found: list[Told], console: Console) -> None:
    for one in sorted(found, key=lambda finding: list(Level).index(finding.level), reverse=True):
        mark, style = _MARKS[one.level]
        console.print(screen.safe(mark, style), screen.safe(one.message), soft_wrap=True)
        if one.mend:
            console.print(screen.safe(f"  → {one.mend}", "dim"), soft_wrap=True)
