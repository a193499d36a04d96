"""`orch status`: who is waited for first, then the tasks that are not done, then what the installation lacks."""

import time
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from orchestrator.cli import screen
from orchestrator.cli.answers import Answers, answers
from orchestrator.cli.runs import outcome
from orchestrator.cli.screen import age_of, count, plain, safe
from orchestrator.cli.server import Gone
from orchestrator.cli.wishes import Wishes
from orchestrator.clock import SystemClock
from orchestrator.words.names import MACHINES

LOOK_S = 1.0
"""Between two looks of --watch; a person sees no difference."""
REASON_CHARS = 300
Json = Mapping[str, Any]


def run(wishes: Wishes, *, limit: int, watch: bool) -> int:
    path = f"/status?limit={limit}"
    with answers(wishes) as asked:
        if watch:
            return _watch(asked, path, wishes)
        body = asked.get(path)
    if screen.is_for_people(wishes):
        console = screen.console(wishes)
        console.print(picture(body, SystemClock().now(), width=console.width))
    else:
        screen.print_json(body)
    return 0


def _watch(asked: Answers, path: str, wishes: Wishes) -> int:
    """Until Ctrl-C, which is how it is meant to end."""
    try:
        if screen.is_for_people(wishes):
            _draw(asked, path, wishes)
        else:
            _print_changes(asked, path)
    except KeyboardInterrupt:
        pass
    return 0


def _print_changes(asked: Answers, path: str) -> None:
    last: Any = None
    for body, _ in _looks(asked, path):
        if body != last:
            screen.print_line(body)
            last = body


def _draw(asked: Answers, path: str, wishes: Wishes) -> None:
    clock, drawn = SystemClock(), ""
    console = screen.console(wishes)
    with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
        for body, note in _looks(asked, path):
            shown = picture(body, clock.now(), note, console.width)
            with console.capture() as captured:
                console.print(shown)
            if captured.get() != drawn:
                drawn = captured.get()
                live.update(shown, refresh=True)


def _looks(asked: Answers, path: str) -> Iterator[tuple[Json, str]]:
    """The newest answer, for ever. One that is missed leaves the last one, with a note."""
    body, note = asked.get(path), ""
    while True:
        yield body, note or ("No server runs; this is how it was left." if asked.is_left else "")
        time.sleep(LOOK_S)
        try:
            body, note = asked.get(path, of_server=True), ""
        except Gone as gone:
            note = "" if asked.is_left else f"No answer ({gone}); asking again. This is how it was."


def picture(body: Json, now: datetime, note: str = "", width: int = screen.ROOMY) -> Group:
    """What a person sees of /status."""
    tasks = body["active_tasks"]
    parts: list[RenderableType] = [safe(note, "yellow")] if note else []
    if needed := list(_needed(tasks)):
        parts += [Text(f"Needs you ({len(needed)})", "bold yellow"), _needs(needed), Text()]
    parts.append(
        _tasks(tasks, now, width) if tasks else Text("No task is open. A new work item in Plane makes one.")
    )
    if problems := body["problems"]:
        parts += [Text(), *(_problem(one) for one in problems)]
    return Group(*parts)


def _needed(tasks: Iterable[Json]) -> Iterator[tuple[Json, Json]]:
    """The tasks that wait for a person, each with the first thing that one can do."""
    for task in tasks:
        found = next(filter(_is_of_person, task["waiting"]), None)
        if found:
            yield task, found


def _is_of_person(item: Json) -> bool:
    return bool(item["who"]) and item["who"] not in MACHINES


def _needs(needed: Iterable[tuple[Json, Json]]) -> RenderableType:
    rows = (
        (safe(name_of(task), "bold", 60), safe(item["who"], "yellow", 40), safe(item["text"], "", REASON_CHARS))
        for task, item in needed
    )
    return screen.table(("", "", ""), rows)


_COLUMNS = ("=task", "stage", "agent", ">turns", ">tokens", ">cost", ">changed", "title, what it waits for")
_SPARE = ("turns", "tokens", "changed")


def _tasks(tasks: Iterable[Json], now: datetime, width: int) -> RenderableType:
    rows = (
        (
            safe(name_of(task), "bold", 60),
            safe(task["stage"]),
            *_run(task),
            age_of(task["updated_at"], now),
            _about(task),
        )
        for task in tasks
    )
    return screen.table(_COLUMNS, rows, () if width >= screen.ROOMY else _SPARE)


def _run(task: Json) -> tuple[Text | str, str, str, str]:
    return _numbers(task["runs"][-1]) if task["runs"] else ("", "", "", "")


def _numbers(run: Json) -> tuple[Text | str, str, str, str]:
    tokens = count(run["input_tokens"] + run["output_tokens"])
    return _agent(run), str(run["turns"]), tokens, screen.cost(run)


def _agent(run: Json) -> Text:
    return Text(" ").join([safe(run["role"], "", 20), outcome(run)])


def _about(task: Json) -> Text:
    """What a person has to do stands above; here is what else it waits for."""
    others = [one for one in task["waiting"] if not _is_of_person(one)]
    return Text("\n").join([safe(task["title"], "", 120), *(safe(one["text"], "dim", 120) for one in others[:1])])


def _problem(problem: Json) -> Text:
    return safe(f"! {problem['message']} {problem['mend']}", "yellow")


def name_of(task: Json) -> str:
    """The key; a work item that was not read yet has none."""
    return plain(task["key"] or f"(task {task['id']}: its key is not known yet)", 60)
