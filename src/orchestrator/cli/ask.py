"""Commands that ask the running orchestrator over its API."""

import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import typer
from rich.console import Console

from orchestrator.cli.setup import NOT_FOUND, read, say

USAGE = 2
TIMEOUT_S = 30.0


def status(*, as_json: bool, limit: int) -> int:
    answer = call("GET", f"/status?limit={limit}")
    if as_json or not sys.stdout.isatty():
        print(answer.text)
    else:
        _print_status(answer.json())
    return 0


def launch(role: str, repo: str, task: Path, *, title: str, as_json: bool) -> int:
    order = {"role": role, "repository": repo, "task": task.read_text(encoding="utf-8"), "title": title}
    answer = call("POST", "/api/v1/tasks", order)
    if as_json or not sys.stdout.isatty():
        print(answer.text)
    else:
        print(f"Task {answer.json()['key']} is accepted; `orch status` shows how it goes.")
    return 0


def retry(key: str) -> int:
    call("POST", f"/api/v1/tasks/{quote(key, safe='')}/retry")
    print(f"{key} gets one more attempt; `orch status` shows how it goes.")
    return 0


def cancel(what: str) -> int:
    """A number is a run's: no key is one."""
    if what.isascii() and what.isdigit():
        call("POST", f"/api/v1/runs/{what}/cancel")
        print(f"Run {what} is told to stop; nothing of it is alive within ten seconds.")
        return 0
    call("POST", f"/api/v1/tasks/{quote(what, safe='')}/cancel")
    print(f"{what} is cancelled, and what was at work for it is told to stop. `orch resume {what}` lets it go on.")
    return 0


def pause(word: str, key: str | None, *, is_all: bool) -> int:
    """`word` is pause or resume. Which of the two is meant has to be said: to pause all by mistake is costly."""
    if (key is None) is not is_all:
        say(f"Name one task (`orch {word} ENDURO-1`), or say `orch {word} --all`.")
        return USAGE
    call("POST", f"/api/v1/tasks/{quote(key, safe='')}/{word}" if key else f"/api/v1/{word}")
    print(_PAUSED[word].format(what=key or "Everything"))
    return 0


_PAUSED = {
    "pause": "{what} is paused: no agent starts; one at work goes on. `orch resume` ends it.",
    "resume": "{what} goes on; `orch status` shows how.",
}


def call(method: str, path: str, order: object = None) -> httpx.Response:
    """A 2xx answer; anything else ends the command with words and its exit code."""
    settings, _ = read()
    host = "127.0.0.1" if settings.host in {"0.0.0.0", "::"} else settings.host
    headers = {"Authorization": f"Bearer {settings.api_token[0].get_secret_value()}"} if settings.api_token else {}
    url = f"http://{host}:{settings.port}{path}"
    try:
        answer = httpx.request(method, url, json=order, headers=headers, timeout=TIMEOUT_S, trust_env=False)
    except httpx.HTTPError as error:
        nobody = f"No orchestrator answers at http://{host}:{settings.port} ({type(error).__name__})."
        raise _ended(1, f"{nobody} Start it with `orch serve`.") from error
    if answer.is_success:
        return answer
    raise _ended({404: NOT_FOUND, 422: USAGE}.get(answer.status_code, 1), _detail(answer))


def _ended(exit_code: int, said: str) -> typer.Exit:
    say(said)
    return typer.Exit(exit_code)


def _detail(answer: httpx.Response) -> str:
    try:
        body: Any = answer.json()
    except ValueError:
        return f"The orchestrator answered {answer.status_code}."
    detail = body.get("detail") if isinstance(body, dict) else None
    if isinstance(detail, list):
        detail = "; ".join(f"{'.'.join(map(str, one['loc'][1:]))}: {one['msg']}" for one in detail)
    return str(detail or f"The orchestrator answered {answer.status_code}.")


def _print_status(body: Any) -> None:
    console = Console(highlight=False)
    for task in body["active_tasks"]:
        console.print(f"[bold]{task['key'] or task['plane_id']}[/] {task['stage']}", end=" ")
        console.print(task["title"], markup=False)
        for run in task["runs"]:
            ended = run["outcome"] or run["state"]
            console.print(f"   {run['role']}: {ended}, {run['turns']} turns, ${run['cost_usd']:.4f}", style="dim")
        for reason in task["waiting"]:
            console.print(f"   waits: {reason['text']}", markup=False)
    if not body["active_tasks"]:
        console.print("No task is open.")
    for problem in body["problems"]:
        console.print(f"! {problem['message']} {problem['mend']}", style="yellow", markup=False)
