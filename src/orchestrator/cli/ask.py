"""Commands that have something changed: by the running orchestrator, over its API."""

from pathlib import Path
from typing import Any
from urllib.parse import quote

from orchestrator.cli import screen
from orchestrator.cli.answers import NOT_FOUND, USAGE, answers
from orchestrator.cli.screen import say
from orchestrator.cli.wishes import Wishes

_PAUSED = {
    "pause": "{what} is paused: no agent starts; one at work goes on. `orch resume {target}` ends it.",
    "resume": "{what} goes on; `orch status` shows how.",
}
_WITHOUT_SERVER = "That is stored, and holds when the server starts (`orch serve`)."


def launch(wishes: Wishes, role: str, repo: str, task: Path, *, title: str) -> int:
    order = {"role": role, "repository": repo, "task": task.read_text(encoding="utf-8"), "title": title}
    with answers(wishes) as asked:
        accepted = asked.order_once("/api/v1/tasks", order)
    key = screen.plain(accepted["key"], 60)
    said = f"Task {key} is accepted; `orch logs -f {key}` reads along, `orch status` shows how it goes."
    return _tell(wishes, accepted, said)


def retry(wishes: Wishes, key: str) -> int:
    said = f"{screen.plain(key, 60)} gets one more attempt; `orch status` shows how it goes."
    return _ordered(wishes, f"/api/v1/tasks/{quote(key, safe='')}/retry", said)


def cancel(wishes: Wishes, what: str) -> int:
    """A number is a run's: no key is one."""
    if what.isascii() and what.isdigit():
        said = f"Run {what} is told to stop; nothing of it is alive within ten seconds."
        return _ordered(wishes, f"/api/v1/runs/{what}/cancel", said)
    key = screen.plain(what, 60)
    said = f"{key} is cancelled, and what was at work for it is told to stop. `orch resume {key}` lets it go on."
    return _ordered(wishes, f"/api/v1/tasks/{quote(what, safe='')}/cancel", said)


def replay(wishes: Wishes, event: int) -> int:
    said = f"The task of event {event} is looked at again; nothing was added. `orch status` shows how it goes."
    return _ordered(wishes, f"/api/v1/events/{event}/replay", said)


def vote(wishes: Wishes, word: str, key: str, *, gate: str | None, digest: str | None, why: str | None) -> int:
    """`word` is approve or reject; about what is asked now, if nothing else is named. Whether who says it may, the
    server knows.
    """
    path = f"/api/v1/tasks/{quote(key, safe='')}"
    with answers(wishes) as asked:
        about = asked.get(path).get("asked") or {}
        order = {"gate": gate or about.get("gate", ""), "digest": digest or about.get("digest", "")}
        answer = asked.order(f"{path}/{word}", order if why is None else {**order, "why": why})
    done = "approved" if word == "approve" else "sent back"
    named = screen.plain(key, 60)
    return _tell(wishes, answer, f"{named} is {done}; `orch explain {named}` shows what follows.")


def pause(wishes: Wishes, word: str, key: str | None, *, is_all: bool) -> int:
    """`word` is pause or resume. Which of the two is meant has to be said: to pause all by mistake is costly.

    Safe without a server: it is a row, which every admission reads, and which outlives every process.
    """
    if (key is None) is not is_all:
        say(f"Name one task (`orch {word} ENDURO-1`), or say `orch {word} --all`.")
        return USAGE
    named = screen.plain(key or "", 60)
    said = _PAUSED[word].format(what=named or "Everything", target=named or "--all")
    path = f"/api/v1/tasks/{quote(key, safe='')}/{word}" if key else f"/api/v1/{word}"
    with answers(wishes) as asked:
        left = asked.order_or_left(path)
        if left and not left.pause(key, is_paused=word == "pause"):
            say(f"There is no task {named}. `orch status` lists the open ones.")
            return NOT_FOUND
    answer = {"status": "paused" if word == "pause" else "running"}
    return _tell(wishes, answer, f"{said} {_WITHOUT_SERVER}" if left else said)


def _ordered(wishes: Wishes, path: str, said: str, order: object = None) -> int:
    with answers(wishes) as asked:
        answer = asked.order(path, order)
    return _tell(wishes, answer, said)


def _tell(wishes: Wishes, answer: Any, said: str) -> int:
    """To programs what the API answered, to people what it means and what is next."""
    if screen.is_for_people(wishes):
        print(said)
    else:
        screen.print_json(answer)
    return 0
