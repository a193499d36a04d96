"""How a command is to answer and who is to be asked: options of every command that asks the orchestrator."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import typer

_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_Server = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="Ask the orchestrator there. When left out: ORCH_SERVER, else ORCH_HOST and ORCH_PORT.",
    ),
]
_NoColor = Annotated[bool, typer.Option("--no-color", help="No colours, as with NO_COLOR.")]


@dataclass(frozen=True, slots=True)
class Wishes:
    """`server` is the address of another orchestrator than the one that the settings tell of."""

    as_json: bool = False
    server: str | None = None
    no_color: bool = False


def asking(function: Callable[..., int]) -> Callable[..., None]:
    """A command that asks an orchestrator. Its first parameter is its Wishes; its answer is the exit code."""
    return _command(function, as_json=_Json, server=_Server, no_color=_NoColor)


def showing(function: Callable[..., int]) -> Callable[..., None]:
    """As `asking`, for a command that finds out by itself what it shows."""
    return _command(function, as_json=_Json, no_color=_NoColor)


def _command(function: Callable[..., int], **options: Any) -> Callable[..., None]:
    @functools.wraps(function)
    def command(**given: Any) -> None:
        wishes = Wishes(**{name: given.pop(name) for name in options})
        raise typer.Exit(function(wishes, **given))

    _, *own = inspect.signature(function).parameters.values()
    common = [_option(name, annotation, default=_DEFAULTS[name]) for name, annotation in options.items()]
    parameters = [*(one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in own), *common]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # where Typer looks
    command.__annotations__ = {one.name: one.annotation for one in parameters}
    return command


_DEFAULTS: dict[str, object] = {"as_json": False, "server": None, "no_color": False}


def _option(name: str, annotation: Any, *, default: object) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
