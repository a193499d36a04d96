"""Stories of runs that people stop or retry, and of runs that wait for their turn; swept as the others are."""

import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from chaos.points import Order
from chaos.sweep import LIMIT_S, STEP_S, Shown, Story, Telling, plain
from chaos.worker import lives, write_worker
from orchestrator.reconcile.execute import FRESH_S
from orchestrator.sim.gitea_people import People
from orchestrator.sim.world import API_TOKEN, APPROVER, REPO

NEVER_S = 1.5 * LIMIT_S
"""Longer than a telling may take; and whoever is left by one that fails goes out by itself."""
REPLAY = "events/1/replay"
HELD = "runtime collect"
"""An agent has ended well by then, and nothing of what it made has left its workspace."""


@dataclass(slots=True)
class Ordering(Telling):
    """People give orders through the API, and again until they are taken."""

    given: set[str] = field(default_factory=set)

    def _give(self, order: str) -> bool:
        """As an order to what is over already it is answered with a conflict, which is as good."""
        if order not in self.given:
            headers = {"Authorization": f"Bearer {API_TOKEN}"}
            with suppress(httpx.HTTPError):
                url = f"{self.service.url}/api/v1/{order}"
                answer = httpx.post(url, headers=headers, timeout=10, trust_env=False)
                self.given |= {order} if answer.status_code in {202, 409} else set()
        return order in self.given

    def _run(self, state: str) -> int | None:
        found = self._rows(f"SELECT id FROM agent_runs WHERE state = '{state}'")
        return int(found[0][0]) if found else None


@dataclass(slots=True)
class AtWork(Ordering):
    """An agent that would go on for ever is stopped by its run."""

    def _worker(self) -> Path:
        return write_worker(self.root / "worker", self.root / "ledger", shortest_s=NEVER_S, longest_s=NEVER_S)

    def _act(self, state: tuple[Any, ...]) -> None:
        run = self._run("running")
        if run is not None and lives(self.root / "ledger"):
            self._stop(run)
        super(AtWork, self)._act(state)

    def _stop(self, run: int) -> None:
        self._give(f"runs/{run}/cancel")


@dataclass(slots=True)
class Commented(AtWork):
    """It is stopped by a word under the work item; which is written once, and heard or found."""

    def _stop(self, run: int) -> None:
        if "comment" not in self.given:
            self.given.add("comment")
            self.world.plane.add_comment(self.item, {"comment_html": "<p>/orch cancel</p>"}, APPROVER)


@dataclass(slots=True)
class Retried(AtWork):
    """The run that was stopped is tried again, and the second agent does its work."""

    first: int = 0

    def _act(self, state: tuple[Any, ...]) -> None:
        _, waiting, *_ = state
        if '"run_not_successful"' in waiting:
            super(AtWork, self)._worker()
            self._give(f"tasks/{self.key}/retry")
        super(Retried, self)._act(state)

    def _stop(self, run: int) -> None:
        self.first = self.first or run
        if run == self.first:
            super(Retried, self)._stop(run)


@dataclass(slots=True)
class Replayed(Ordering):
    """When all is done the first delivery is looked at once more."""

    def _act(self, state: tuple[Any, ...]) -> None:
        if super(Replayed, self)._is_there(state):
            self._give(REPLAY)
        super(Replayed, self)._act(state)

    def _is_there(self, state: tuple[Any, ...]) -> bool:
        return super(Replayed, self)._is_there(state) and REPLAY in self.given


@dataclass(slots=True)
class AtItsEnd(Ordering):
    """Its task is stopped when the agent has ended, and before what it made is fetched."""

    @property
    def ordered(self) -> Path:
        return self.root / "ordered"

    def _order(self) -> Order:
        return Order(trace=str(self.trace), is_quick=True, held=HELD, until=str(self.ordered))

    def _act(self, state: tuple[Any, ...]) -> None:
        if HELD in self.reached() and self._give(f"tasks/{self.key}/cancel"):
            self.ordered.touch()
        super(AtItsEnd, self)._act(state)


@dataclass(slots=True)
class InLine(Ordering):
    """A run waits so long for its turn that what it rests on is read again before its agent starts."""

    @property
    def clock(self) -> Path:
        return self.root / "clock"

    def _order(self) -> Order:
        return Order(trace=str(self.trace), is_quick=True, clock=str(self.clock))

    def _prepare(self) -> None:
        self.clock.write_text("0")
        super(InLine, self)._prepare()

    def _begin(self) -> None:
        end = time.monotonic() + LIMIT_S
        while not self._give("pause"):
            assert time.monotonic() < end, f"{self.point}: it cannot be paused"
            self._revive()
            time.sleep(STEP_S)
        super(InLine, self)._begin()

    def _act(self, state: tuple[Any, ...]) -> None:
        is_all_written = state[2] == 0
        if self._run("intended") is not None and is_all_written:
            self._meanwhile()
            self._give("resume")
        super(InLine, self)._act(state)

    def _meanwhile(self) -> None:
        if "wait" not in self.given:
            self.given.add("wait")
            fresh = self.clock.with_suffix(".new")
            fresh.write_text(str(2 * FRESH_S))
            fresh.replace(self.clock)


@dataclass(slots=True)
class Overtaken(InLine):
    """Meanwhile somebody pushes, so that it is called off and decided anew."""

    def _meanwhile(self) -> None:
        if "wait" not in self.given:
            People(self.world.gitea).commit(REPO, self.branch, {"news.md": "Read this first.\n"}, "boss")
        super(Overtaken, self)._meanwhile()


@dataclass(slots=True)
class Broken(AtWork):
    """A fault in our own code meets a run while its agent is at work."""

    def _order(self) -> Order:
        return Order(trace=str(self.trace), is_quick=True, broken="runtime wait")

    def _stop(self, run: int) -> None:
        """Nobody has to."""

    def shown(self) -> Shown:
        """The agent may be stopped before it can write its first line."""
        found = lives(self.root / "ledger")
        return super(Broken, self).shown() | {"lives": any(one.is_finished for one in found)}


@dataclass(slots=True)
class Refused(Telling):
    """The reviewer has lost its right to the repository, and a person merges all the same."""

    is_merged: bool = False

    def _prepare(self) -> None:
        super(Refused, self)._prepare()
        del self.world.gitea.repos[REPO].roles["reviewer"]

    def _act(self, state: tuple[Any, ...]) -> None:
        _, waiting, *_ = state
        if '"not_written"' in waiting and not self.is_merged:
            self.is_merged = True
            (number,) = self.world.gitea.repos[REPO].pulls
            People(self.world.gitea).merge(REPO, number, "boss")
        super(Refused, self)._act(state)

    def shown(self) -> Shown:
        """Without our own status: what it said last before the merge, which nobody waits for, it says for ever."""
        found = super(Refused, self).shown()
        given_up = self._rows("SELECT kind, error FROM effects WHERE error != ''")
        found["statuses"].pop("orchestrator/gate", None)
        return found | {"given_up": [(kind, plain(error)) for kind, error in given_up]}


TURNS = (
    Story("a person stops a run", "analysis", "run_not_successful", is_written=False, told_by=AtWork),
    Story("a person retries", "analysis", "approval", is_written=False, told_by=Retried),
    Story("a delivery is replayed", "analysis", "approval", is_written=False, told_by=Replayed),
    Story("a comment stops a task", "analysis", "cancelled", is_written=False, told_by=Commented),
    Story("a stop after the agent's end", "analysis", "cancelled", is_written=False, told_by=AtItsEnd),
    Story("a run waits for its turn", "analysis", "approval", is_written=False, told_by=InLine),
    Story("a run is overtaken", "analysis", "approval", is_written=False, told_by=Overtaken),
    Story("a run breaks", "analysis", "run_not_successful", is_written=False, told_by=Broken),
    Story("what is refused is given up", "done", "", is_written=True, told_by=Refused),
)
