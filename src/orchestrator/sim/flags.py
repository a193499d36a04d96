"""The command line of the scripted `claude`: those flags of the real CLI that the orchestrator uses, and no other.

It is read by hand: the agent is started for each run of each test, and to load `argparse` takes longer than a run.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, NoReturn


class Flags(NamedTuple):
    """What the flags say; `scenario` and `ledger` are the stand-in's own."""

    scenario: str = "work"
    ledger: str = ""
    version: bool = False
    print: bool = False
    verbose: bool = False
    input_format: str = "text"
    output_format: str = "text"
    session_id: str = ""
    resume: str = ""
    fork_session: bool = False
    permission_mode: str = "default"
    json_schema: Mapping[str, Any] | None = None
    model: str = "opus"
    tools: tuple[str, ...] = ()


SWITCHES = {"version", "print", "verbose", "fork_session", "strict_mcp_config", "disable_slash_commands"}
LISTS = {"tools"}
IGNORED = {"setting_sources", "permission_prompts", "append_system_prompt_file", "max_turns", "max_budget_usd"}
VALUES = {*Flags._fields, *IGNORED} - SWITCHES - LISTS
CHOICES = {"input_format": ("text", "stream-json"), "output_format": ("text", "json", "stream-json")}
NAMES = {f"--{name.replace('_', '-')}": name for name in SWITCHES | LISTS | VALUES}
NAMES |= {"-v": "version", "-p": "print", "--allowedTools": "tools"}


def read_flags(argv: list[str]) -> Flags:
    """Any other flag is refused, as by the real one."""
    found: dict[str, Any] = {}
    for flag, values in _grouped(argv):
        name = NAMES.get(flag, "")
        if name in SWITCHES and not values:
            found[name] = True
        elif name in LISTS and values:
            found[name] = (*found.get(name, ()), *values)
        elif name in VALUES and len(values) == 1:
            found[name] = _read(name, values[0])
        else:
            _refuse(f"unknown, or not with so many values: {' '.join((flag, *values))}")
    return Flags(**{name: value for name, value in found.items() if name in Flags._fields})


def _grouped(argv: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Each flag with the words up to the next one; `--flag=value` is such a word, too."""
    words = list(argv)
    while words:
        flag, is_joined, value = words.pop(0).partition("=")
        values = [value] if is_joined else []
        while words and not words[0].startswith("-"):
            values.append(words.pop(0))
        yield flag, values


def _read(name: str, value: str) -> object:
    if value not in CHOICES.get(name, (value,)):
        _refuse(f"{name}: {value!r} is none of {', '.join(CHOICES[name])}")
    try:
        return json.loads(value) if name == "json_schema" else value
    except ValueError:
        _refuse(f"{name}: not JSON")


def _refuse(why: str) -> NoReturn:
    """As the real one does: exit code 1, the reason on stderr, nothing on stdout."""
    print(f"error: {why}", file=sys.stderr)
    raise SystemExit(1)
