"""Carries effects out, each under its key: done twice it changes nothing. A crash leaves them queued."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import structlog

from orchestrator.db import Database
from orchestrator.domain.effect import (
    EFFECTS,
    Effect,
    GateStatus,
    ItemState,
    OpenPull,
    PullLink,
    PullNote,
    PullReview,
    TrackerNote,
)
from orchestrator.domain.errors import OrchestratorError, Permanent, Transient
from orchestrator.domain.forge import ReviewPublished
from orchestrator.domain.model import ProjectId, RepoName, Stage, Task, WorkItemId
from orchestrator.domain.tracker import CommentId
from orchestrator.loglimit import Complaints
from orchestrator.pace import showing
from orchestrator.ports import Clock, Forge, Tracker
from orchestrator.reconcile.observe import REFUSED_PAUSE_S, Forges
from orchestrator.store import canonical, outbox
from orchestrator.store.outbox import EffectRow

log = structlog.get_logger()
GATE_CONTEXT = "orchestrator/gate"
TOLD_IN_S = 1.0
"""That something is refused, or is so no more, is told by another look."""
MAX_REMEMBERED = 10_000
SHOWS: dict[type[Effect], tuple[str, ...]] = {OpenPull: ("pull", "branch", "reviews"), PullReview: ("reviews",)}
"""Which observations an effect changes: they are made again."""
MENDED_BY_OPERATORS = frozenset({"plane_refused", "gitea_refused", "no_plane_token", "no_gitea_token"})
"""Refusals of everything, which `/ready` shows, so that they do not last unseen."""
OF_ITEM = (TrackerNote, ItemState, PullLink)
"""Effects that are written to the work item."""


@dataclass(frozen=True, slots=True)
class Delivered:
    """`changed` are observations that are stale now; `again_in_s` is set when something is still to be done."""

    changed: tuple[str, ...] = ()
    again_in_s: float | None = None


@dataclass(slots=True)
class Delivery:
    """The outbox's worker, called for one task at a time."""

    database: Database
    clock: Clock
    tracker: Tracker | None
    forges: Forges
    complaints: Complaints
    _notes: dict[str, CommentId] = field(default_factory=dict)

    async def deliver(
        self, task: Task, notes: Mapping[str, CommentId], *, is_item_gone: bool = False
    ) -> Delivered:
        """In order. One that fails does not hold up the others: they are about different things.

        `notes` are comments of ours that this look has seen: after a restart they are edited without a question.
        `is_item_gone`: what is to be written there stays queued, untried, until a look sees the item again.
        Of a task that is done nobody is told what is refused, so it is not tried again.
        """
        due = await self.database.read(lambda connection: outbox.due(connection, task.id))
        changed: list[str] = []
        pauses: list[float | None] = []
        for row in due:
            effect = decoded(row)
            if is_item_gone and isinstance(effect, OF_ITEM):
                continue
            try:
                with showing():
                    refusal = await self._carry_out(task, effect, notes)
            except OrchestratorError as error:
                pauses.append(await self._failed(task, row, error))
                continue
            await self._done(row, refusal)
            if row.error:
                pauses.append(TOLD_IN_S)
            log.info("effect_done", task=task.key, kind=row.kind)
            changed += SHOWS[OpenPull] if refusal else SHOWS.get(type(effect), ())
        again_in_s = min((one for one in pauses if one is not None), default=None)
        return Delivered(tuple(dict.fromkeys(changed)), again_in_s)

    async def _done(self, row: EffectRow, refusal: str) -> None:
        now = self.clock.now()
        await self.database.write(lambda connection: outbox.done(connection, row, now, refusal))

    async def _failed(self, task: Task, row: EffectRow, error: OrchestratorError) -> float | None:
        """How long to wait at least until it is tried again; None: never."""
        self.complaints.say("effect_put_off", error, task=task.key, kind=row.kind)
        if isinstance(error, Transient):
            return error.retry_after_s or 0.0
        said = f"{error.code}: {error.message} {error.hint}".strip()[:500]
        if task.stage is Stage.DONE and error.code not in MENDED_BY_OPERATORS:
            await self._done(row, said)
            log.warning("effect_given_up", task=task.key, kind=row.kind, why=said)
            return None
        if said != row.error:
            await self.database.write(lambda connection: outbox.failed(connection, row, said))
        return REFUSED_PAUSE_S if row.error else TOLD_IN_S

    async def _carry_out(self, task: Task, effect: Effect, notes: Mapping[str, CommentId]) -> str:
        """A refusal that is final; empty for what was done."""
        match effect:
            case TrackerNote():
                await self._note(task, effect, notes.get(effect.key))
            case ItemState(name):
                await self._move(task, name)
            case PullLink(url, title):
                await self._tracker().link(*_item(task), url, title)
            case OpenPull(repo, head, base, title, body):
                forge = self.forges.developer or self._forge()
                await forge.open_pull_request(repo, base, head, title, body)
            case PullNote(repo, pull, marker, text):
                await self._forge().pull_comment(repo, pull, marker, text)
            case PullReview():
                return await self._review(effect)
            case GateStatus(repo, at, state, description, url):
                await self._forge().set_status(repo, at, GATE_CONTEXT, state, description, url)
        return ""

    async def _note(self, task: Task, note: TrackerNote, seen: CommentId | None) -> None:
        """One call when we know whether the comment is there: calls to Plane are few."""
        tracker, where = self._tracker(), _item(task)
        known = seen or self._notes.get(note.key)
        if known is None or not await tracker.edit_comment(*where, known, note.html):
            written = await tracker.comment(*where, note.key, note.html)
            known = written.id
            if not written.is_new and not await tracker.edit_comment(*where, known, note.html):
                raise Transient("plane_odd_answer", f"Plane has a comment {note.key}, and then has none.")
        if len(self._notes) >= MAX_REMEMBERED:
            self._notes.clear()
        self._notes[note.key] = known

    async def _move(self, task: Task, name: str) -> None:
        tracker, (project, item) = self._tracker(), _item(task)
        wanted = [state for state in await tracker.states(project) if state.name.casefold() == name.casefold()]
        if not wanted:
            raise Permanent(
                "plane_no_such_state",
                f"The Plane project has no state {name!r}.",
                hint="Correct `states` in orchestrator.yaml, or add the state in Plane.",
            )
        await tracker.move(project, item, wanted[0].id)

    async def _review(self, review: PullReview) -> str:
        """The forge's refusal of an author's own review is final. QG-5 asks a person where the reviewer is the
        author, so it comes to that only when the forge means somebody else by that name: it is an error. Nobody
        needs one of what was closed or merged meanwhile.
        """
        if self.forges.reviewer is None:
            raise Permanent("no_reviewer_user", "There is no ORCH_GITEA_TOKEN_REVIEWER to publish a review with.")
        told = await self.forges.reviewer.review(review.repo, review.pull, review.at, review.verdict, review.text)
        if told is ReviewPublished.OWN_PULL_REQUEST:
            log.error(
                "review_refused", pull=review.pull, code=told, mend="Give the reviewer a Gitea user of its own."
            )
        if told is ReviewPublished.CLOSED_PULL_REQUEST:
            log.info("review_refused", pull=review.pull, code=told)
        return "" if told is ReviewPublished.PUBLISHED else told.value

    def _tracker(self) -> Tracker:
        if self.tracker is None:
            raise Permanent("no_plane_token", "There is no Plane token.")
        return self.tracker

    def _forge(self) -> Forge:
        if self.forges.orchestrator is None:
            raise Permanent("no_gitea_token", "There is no Gitea token.")
        return self.forges.orchestrator


def makes_a_look_due(row: EffectRow, *, is_item_gone: bool) -> bool:
    """What was refused has a pause of its own; what is for a work item that is gone waits until that is back."""
    return not row.error and not (is_item_gone and isinstance(decoded(row), OF_ITEM))


def decoded(row: EffectRow) -> Effect:
    found: Effect = canonical.decode(row.arguments, (*EFFECTS, RepoName))
    return found


def _item(task: Task) -> tuple[ProjectId, WorkItemId]:
    assert task.project is not None  # noqa: S101 - only tasks of work items get such effects
    assert task.plane_id is not None  # noqa: S101 - as above
    return task.project, task.plane_id
