"""`orch`: commands and exit codes (0 ok, 1 failed, 2 usage, 3 configuration, 4 not found)."""

import gc
from pathlib import Path
from typing import Annotated

import typer

from orchestrator import __version__
from orchestrator.cli import lean
from orchestrator.domain.model import Language

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
config_app = typer.Typer(no_args_is_help=True, help="Look at the configuration.")
app.add_typer(config_app, name="config")


@app.callback()
def _root() -> None:
    """Carries Plane work items through agents and gates to pull requests in Gitea or Forgejo."""


@app.command()
def serve(
    allow_unsigned_loopback: Annotated[
        bool, typer.Option(help="Accept unsigned deliveries from this machine, and listen on it alone.")
    ] = False,
) -> None:
    """Run the orchestrator with the settings of the environment and .env."""
    gc.disable()  # until it serves: imports leave no garbage, and to look for it is a tenth of the start
    lean.load_structlog()
    from orchestrator.cli import serve as command  # noqa: PLC0415 - each command imports only what it needs

    raise typer.Exit(command.run(allow_unsigned_loopback=allow_unsigned_loopback))


@app.command()
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Try the set-up and say how to mend what is missing. Needs no running server."""
    from orchestrator.cli import doctor as command  # noqa: PLC0415

    raise typer.Exit(command.run(as_json=as_json))


@app.command()
def demo(
    live: Annotated[
        bool, typer.Option(help="Use your model account (needs a credential in the settings).")
    ] = False,
    keep: Annotated[bool, typer.Option(help="Stay up at the end, to look around; Ctrl-C ends it.")] = False,
    scripted: Annotated[bool, typer.Option(help="Use the scripted stand-in of the CLI.")] = False,
) -> None:
    """Carry a recorded Plane delivery through all gates to "ready to merge" on simulated Plane and Gitea."""
    from orchestrator.cli import demo as command  # noqa: PLC0415

    raise typer.Exit(command.run(live=live, keep=keep, scripted=scripted))


@app.command()
def status(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    limit: Annotated[int, typer.Option(help="How many tasks.", min=1, max=200)] = 10,
) -> None:
    """Show the tasks that are not done, and why each waits."""
    from orchestrator.cli import ask  # noqa: PLC0415

    raise typer.Exit(ask.status(as_json=as_json, limit=limit))


@app.command()
def explain(
    key: Annotated[str, typer.Argument(help="the task's key, like ENDURO-1")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    lang: Annotated[
        Language | None, typer.Option(help="Language of the sentences; English when left out.")
    ] = None,
) -> None:
    """Show where a task is, each gate's items, what would unblock it and who, and the limits left."""
    from orchestrator.cli import explain as command  # noqa: PLC0415

    raise typer.Exit(command.run(key, as_json=as_json, language=lang))


@app.command()
def launch(
    role: Annotated[str, typer.Argument(help="analyst, architect, developer, reviewer or tester")],
    repo: Annotated[str, typer.Argument(help="owner/name, one that orchestrator.yaml maps")],
    task: Annotated[Path, typer.Option("--task", help="File with the task's text.", exists=True, dir_okay=False)],
    title: Annotated[str, typer.Option(help="Title; the first line of the text when left out.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Ask the running orchestrator to start one agent on a task of its own."""
    from orchestrator.cli import ask  # noqa: PLC0415

    raise typer.Exit(ask.launch(role, repo, task, title=title, as_json=as_json))


@app.command()
def retry(key: Annotated[str, typer.Argument(help="the task's key, like ENDURO-1")]) -> None:
    """Give a task whose last run did not succeed one more attempt."""
    from orchestrator.cli import ask  # noqa: PLC0415

    raise typer.Exit(ask.retry(key))


@app.command()
def cancel(
    what: Annotated[str, typer.Argument(help="a run's number, or a task's key like ENDURO-1")],
) -> None:
    """Stop a run; or stop a task, which then starts nothing more until it is resumed."""
    from orchestrator.cli import ask  # noqa: PLC0415

    raise typer.Exit(ask.cancel(what))


@app.command()
def pause(
    key: Annotated[str | None, typer.Argument(help="the task's key, like ENDURO-1")] = None,
    is_all: Annotated[bool, typer.Option("--all", help="Every task: no agent starts at all.")] = False,
) -> None:
    """Let no agent start, of one task or of all. Those at work go on."""
    from orchestrator.cli import ask  # noqa: PLC0415

    raise typer.Exit(ask.pause("pause", key, is_all=is_all))


@app.command()
def resume(
    key: Annotated[str | None, typer.Argument(help="the task's key, like ENDURO-1")] = None,
    is_all: Annotated[bool, typer.Option("--all", help="End the pause of everything.")] = False,
) -> None:
    """Take a pause back, of one task or of all. Tasks that were paused by themselves stay paused."""
    from orchestrator.cli import ask  # noqa: PLC0415

    raise typer.Exit(ask.pause("resume", key, is_all=is_all))


@app.command()
def verify(
    key: Annotated[str | None, typer.Argument(help="the task's key; every task when left out")] = None,
) -> None:
    """Make the stored decisions again and compare them, byte for byte. Needs no running server."""
    from orchestrator.cli import verify as command  # noqa: PLC0415

    raise typer.Exit(command.run(key))


@config_app.command("example")
def example() -> None:
    """Print the text of .env.example."""
    from orchestrator import config  # noqa: PLC0415

    print(config.example(), end="")


@config_app.command()
def validate(
    file: Annotated[Path | None, typer.Argument(help="The file; the one of ORCH_CONFIG when left out.")] = None,
) -> None:
    """Look for mistakes in orchestrator.yaml, one line for each."""
    from orchestrator.cli import configuration  # noqa: PLC0415

    raise typer.Exit(configuration.validate(file))


@config_app.command()
def show(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show settings and orchestrator.yaml as they are understood, with every default and no secret."""
    from orchestrator.cli import configuration  # noqa: PLC0415

    raise typer.Exit(configuration.show(as_json=as_json))


@app.command()
def version() -> None:
    """Print the version."""
    print(__version__)


def main() -> None:
    """The entry point of the `orch` script."""
    lean.forgo_plugins()
    app()
