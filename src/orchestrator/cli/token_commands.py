"""`orch token`: its commands. What is behind them is in `token`."""

from enum import StrEnum
from typing import Annotated

import typer

token_app = typer.Typer(no_args_is_help=True, help="Make, list and revoke tokens for programs and people.")


class TokenScope(StrEnum):
    """Each includes those before it."""

    READ = "read"
    OPERATE = "operate"
    ADMIN = "admin"


Name = Annotated[str, typer.Argument(help="what it is for, like ci or alice-laptop")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@token_app.command()
def create(
    name: Name,
    scope: Annotated[TokenScope | None, typer.Option(help="What it may do; read unless --as is given.")] = None,
    login: Annotated[
        str, typer.Option("--as", metavar="LOGIN", help="The person of orchestrator.yaml that it speaks for.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Make a token and print it: this once, since only its digest is kept."""
    from orchestrator.cli import token as command  # noqa: PLC0415 - each command imports only what it needs

    raise typer.Exit(command.create(name, scope.value if scope else "", login, as_json=as_json))


@token_app.command("list")
def list_tokens(as_json: AsJson = False) -> None:
    """Show every token's name, scope and last use; never the token itself."""
    from orchestrator.cli import token as command  # noqa: PLC0415

    raise typer.Exit(command.show(as_json=as_json))


@token_app.command()
def revoke(name: Name) -> None:
    """End a token, and every session by it, at once: a running server refuses the next request."""
    from orchestrator.cli import token as command  # noqa: PLC0415

    raise typer.Exit(command.revoke(name))
