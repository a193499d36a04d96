"""`orch`: commands and exit codes (0 ok, 1 failed, 2 usage, 3 configuration, 4 not found)."""

import gc
from pathlib import Path
from typing import Annotated

import typer

from orchestrator import __version__
from orchestrator.cli import lean
from orchestrator.cli.complete import keys
from orchestrator.cli.token_commands import token_app
from orchestrator.cli.wishes import Wishes, asking, showing
from orchestrator.domain.roles import Language

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)
config_app = typer.Typer(no_args_is_help=True, help="Look at the configuration.")
app.add_typer(config_app, name="config")
app.add_typer(token_app, name="token")
Key = Annotated[str, typer.Argument(help="the task's key, like ENDURO-1", autocompletion=keys)]
MaybeKey = Annotated[str | None, typer.Argument(help="the task's key, like ENDURO-1", autocompletion=keys)]
HowMany = Annotated[int, typer.Option(help="How many.", min=1, max=200)]
Cursor = Annotated[str | None, typer.Option(help="Go on at what an earlier list named.")]
Gate = Annotated[str | None, typer.Option(help="The gate, like QG-1; the one that asks when left out.")]
Digest = Annotated[
    str | None, typer.Option(help="Of the documents that you read; refused when they changed since.")
]


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
@showing
def doctor(
    wishes: Wishes,
    model: Annotated[
        bool, typer.Option("--model", help="Ask the model something, too; costs a few cents.")
    ] = False,
) -> int:
    """Try the set-up and say how to mend what is missing. Needs no running server."""
    from orchestrator.cli import doctor as command  # noqa: PLC0415

    return command.run(wishes, asks_model=model)


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
@asking
def status(
    wishes: Wishes,
    limit: Annotated[int, typer.Option(help="How many tasks.", min=1, max=200)] = 10,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Draw it anew on each change, until Ctrl-C.")
    ] = False,
) -> int:
    """Show who is waited for, the tasks that are not done, and why each waits."""
    from orchestrator.cli import status as command  # noqa: PLC0415

    return command.run(wishes, limit=limit, watch=watch)


@app.command()
@asking
def task(wishes: Wishes, key: Key) -> int:
    """Show a task: its gates, its runs, and what sent it back."""
    from orchestrator.cli import task as command  # noqa: PLC0415

    return command.run(wishes, key)


@app.command()
@asking
def explain(
    wishes: Wishes,
    key: Key,
    lang: Annotated[
        Language | None, typer.Option(help="Language of the sentences; English when left out.")
    ] = None,
) -> int:
    """Show where a task is, each gate's items, what would unblock it and who, and the limits left."""
    from orchestrator.cli import explain as command  # noqa: PLC0415

    return command.run(wishes, key, language=lang)


@app.command()
@asking
def runs(
    wishes: Wishes,
    of_task: Annotated[str | None, typer.Option("--task", help="Of this task alone.", autocompletion=keys)] = None,
    limit: HowMany = 20,
    cursor: Cursor = None,
) -> int:
    """Show runs of agents, the newest first."""
    from orchestrator.cli import runs as command  # noqa: PLC0415

    return command.run(wishes, {"task": of_task, "cursor": cursor}, limit)


@app.command()
@asking
def logs(
    wishes: Wishes,
    what: Annotated[
        str, typer.Argument(help="a run's number, or a task's key: its newest run", autocompletion=keys)
    ],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run has ended.")] = False,
    whole: Annotated[bool, typer.Option("--full", help="Unfold what tools were given and gave back.")] = False,
    raw: Annotated[bool, typer.Option("--raw", help="The log itself, as the CLI wrote it.")] = False,
) -> int:
    """Show what an agent said and did."""
    from orchestrator.cli import transcripts as command  # noqa: PLC0415

    return command.run(wishes, what, command.Manner(is_raw=raw, is_whole=whole, follows=follow))


@app.command()
@asking
def events(
    wishes: Wishes,
    source: Annotated[str | None, typer.Option(help="Of plane, or of gitea.")] = None,
    kind: Annotated[str | None, typer.Option("--type", help="Of this type, like issue or push.")] = None,
    of_task: Annotated[str | None, typer.Option("--task", help="Of this task alone.", autocompletion=keys)] = None,
    limit: HowMany = 20,
    cursor: Cursor = None,
) -> int:
    """Show what Plane and Gitea told us, the newest first."""
    from orchestrator.cli import events as command  # noqa: PLC0415

    wanted = {"source": source, "type": kind, "task": of_task, "cursor": cursor}
    return command.run(wishes, wanted, limit)


@app.command()
@asking
def launch(
    wishes: Wishes,
    role: Annotated[str, typer.Argument(help="analyst, architect, developer, reviewer or tester")],
    repo: Annotated[str, typer.Argument(help="owner/name, one that orchestrator.yaml maps")],
    task: Annotated[Path, typer.Option("--task", help="File with the task's text.", exists=True, dir_okay=False)],
    title: Annotated[str, typer.Option(help="Title; the first line of the text when left out.")] = "",
) -> int:
    """Ask the running orchestrator to start one agent on a task of its own."""
    from orchestrator.cli import ask  # noqa: PLC0415

    return ask.launch(wishes, role, repo, task, title=title)


@app.command()
@asking
def approve(wishes: Wishes, key: Key, gate: Gate = None, digest: Digest = None) -> int:
    """Approve a task's documents, as the person that your token speaks for."""
    from orchestrator.cli import ask  # noqa: PLC0415

    return ask.vote(wishes, "approve", key, gate=gate, digest=digest, why=None)


@app.command()
@asking
def reject(
    wishes: Wishes,
    key: Key,
    why: Annotated[str, typer.Option(help="What has to change; the agent is told.")],
    gate: Gate = None,
    digest: Digest = None,
) -> int:
    """Send a task's documents back, as the person that your token speaks for."""
    from orchestrator.cli import ask  # noqa: PLC0415

    return ask.vote(wishes, "reject", key, gate=gate, digest=digest, why=why)


@app.command()
@asking
def retry(wishes: Wishes, key: Key) -> int:
    """Give a task whose last run did not succeed one more attempt."""
    from orchestrator.cli import ask  # noqa: PLC0415

    return ask.retry(wishes, key)


@app.command()
@asking
def cancel(
    wishes: Wishes,
    what: Annotated[
        str, typer.Argument(help="a run's number, or a task's key like ENDURO-1", autocompletion=keys)
    ],
) -> int:
    """Stop a run; or stop a task, which then starts nothing more until it is resumed."""
    from orchestrator.cli import ask  # noqa: PLC0415

    return ask.cancel(wishes, what)


@app.command()
@asking
def pause(
    wishes: Wishes,
    key: MaybeKey = None,
    is_all: Annotated[bool, typer.Option("--all", help="Every task: no agent starts at all.")] = False,
) -> int:
    """Let no agent start, of one task or of all. Those at work go on."""
    from orchestrator.cli import ask  # noqa: PLC0415

    return ask.pause(wishes, "pause", key, is_all=is_all)


@app.command()
@asking
def resume(
    wishes: Wishes,
    key: MaybeKey = None,
    is_all: Annotated[bool, typer.Option("--all", help="End the pause of everything.")] = False,
) -> int:
    """Take a pause back, of one task or of all. Tasks that were paused by themselves stay paused."""
    from orchestrator.cli import ask  # noqa: PLC0415

    return ask.pause(wishes, "resume", key, is_all=is_all)


@app.command()
@asking
def replay(
    wishes: Wishes,
    event: Annotated[int, typer.Argument(help="an event's number, as `orch events` shows it", min=1)],
) -> int:
    """Look again at the task of an event. The journal gets nothing new."""
    from orchestrator.cli import ask  # noqa: PLC0415

    return ask.replay(wishes, event)


@app.command()
def verify(
    key: Annotated[
        str | None, typer.Argument(help="the task's key; every task when left out", autocompletion=keys)
    ] = None,
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
@showing
def show(wishes: Wishes) -> int:
    """Show settings and orchestrator.yaml as they are understood, with every default and no secret."""
    from orchestrator.cli import configuration  # noqa: PLC0415

    return configuration.show(wishes)


@app.command()
def version() -> None:
    """Print the version."""
    print(__version__)


def main() -> None:
    """The entry point of the `orch` script."""
    lean.look_for_garbage_seldom()
    lean.forgo_plugins()
    lean.speak_all_languages()
    app()
