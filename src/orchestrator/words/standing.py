"""How a task stands, as its sticky comments, its commit status and its pull request's body say it.

Equal standings give equal text: it is compared by its digest, so it has no time of day in it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from orchestrator.domain.forge import CheckState
from orchestrator.domain.model import Stage
from orchestrator.domain.roles import Language
from orchestrator.domain.run import RunState
from orchestrator.qg.facts import RunFact
from orchestrator.qg.verdict import Failed, Item, Passed, Unknown, Verdict, Waiting
from orchestrator.words import marks
from orchestrator.words.marks import Block, Code, Link, Listing, Paragraph, Span, Spans, Strong, Text, clean
from orchestrator.words.names import GATES, OUTCOMES, PEOPLE, ROLES, STAGES, WHO, in_language
from orchestrator.words.phrases import PHRASES
from orchestrator.words.sentences import People, sentence, spans, what_is, what_to_do, who_can, with_step
from orchestrator.workflow.decision import required
from orchestrator.workflow.names import is_key
from orchestrator.workflow.pipeline import STEPS, place, step_of_stage

MAX_BYTES = 8_000
MAX_STATUS_CHARS = 140
MAX_TITLE_CHARS = 200
MAX_ASKED = 50
_SHA_CHARS = (40, 64)
PARKED = frozenset(
    {
        "cancelled",
        "cap_reached",
        "internal_error",
        "item_gone",
        "item_is_archived",
        "model_refuses",
        "money_without_progress",
        "no_progress",
        "no_rest",
        "output_missing",
        "pull_request_closed",
        "run_crashed",
        "run_not_successful",
        "stage_not_automated",
        "task_budget_spent",
        "tools_denied",
    }
)
"""Items with which a task rests until a person acts."""
ANYBODYS = frozenset({"approval_not_counted"})
"""Items that strangers can cause, as many as they like. Told once and without the comment that they rest on: else
a bot that answers our comment would change it, and answer that, for ever.
"""


@dataclass(frozen=True, slots=True)
class Standing:
    """All that a text about a task may say. Addresses are whole (`https://…`) or empty."""

    key: str
    title: str
    stage: Stage
    waiting: tuple[Item, ...] = ()
    verdicts: tuple[tuple[str, Verdict], ...] = ()
    """The newest that is known of each gate."""
    pull: str = ""
    branch: str = ""
    runs: tuple[RunFact, ...] = ()
    task_link: str = ""
    item: str = ""
    """The work item's address."""
    returns: int = 0
    returns_allowed: int = 0
    documents: tuple[tuple[str, str], ...] = ()
    """Paths in the repository, with their addresses on the forge."""
    people: People = ()
    """Display names by the tracker's user ids."""


@dataclass(frozen=True, slots=True)
class _Bounds:
    """How much is told. No parameter is shorter than a commit's name, so that commands stay whole."""

    items: int
    chars: int
    evidence: int
    runs: int


_BOUNDS = (_Bounds(6, 200, 3, 10), _Bounds(3, 100, 2, 5), _Bounds(1, 64, 1, 3), _Bounds(0, 64, 0, 0))


def sticky_markdown(standing: Standing, language: Language) -> str:
    """The pull request's one comment, at most MAX_BYTES; its hidden marker is the forge adapter's."""
    return _bounded(standing, language, marks.to_markdown)


def sticky_html(standing: Standing, language: Language) -> str:
    """The work item's one comment, at most MAX_BYTES, ready to be written. It does not link to where it stands."""
    return _bounded(replace(standing, item=""), language, marks.to_html)


def status_line(standing: Standing, language: Language) -> tuple[CheckState, str]:
    """The commit status: success only when a person may merge, or has merged."""
    state = _state(standing)
    if state is CheckState.SUCCESS:
        text = _phrase("is_done" if standing.stage is Stage.DONE else "is_ready", language)
    elif waiting := required(standing.waiting):
        text = _on_one_line(waiting[0], language, standing.people)
    else:
        text = _phrase("under_way", language)
    return state, clean(text, MAX_STATUS_CHARS)


def pull_body(standing: Standing, language: Language) -> str:
    """The pull request's body. It begins with a hidden line that says that a program wrote it."""
    marker = f" task={standing.key}" if is_key(standing.key) else ""
    what = (*_spans("body", language, key=_key(standing)), Strong(_title(standing, MAX_TITLE_CHARS)))
    about = (*what, Text(" ("), *item, Text(")")) if (item := _item_link(standing, language)) else what
    rows = tuple(_document(path, address) for path, address in standing.documents[:10])
    blocks = [
        Paragraph(about),
        *([_heading("documents", language), Listing(rows)] if rows else []),
        Paragraph(_spans("never_merges", language)),
        Paragraph((*_spans("made_by", language), *_task_link(standing, language))),
    ]
    return f"<!-- orchestrator{marker} -->\n{marks.to_markdown(blocks)}"


def _state(standing: Standing) -> CheckState:
    codes = {item.code for item in required(standing.waiting)}
    verdicts = dict(standing.verdicts)
    closed = next((verdicts[name] for name in sorted(verdicts) if not isinstance(verdicts[name], Passed)), None)
    if standing.stage is Stage.DONE:
        return CheckState.SUCCESS
    if codes & PARKED or isinstance(closed, Failed):
        return CheckState.FAILURE
    is_ready = standing.stage is Stage.READY and codes == {"merge"} and closed is None
    return CheckState.SUCCESS if is_ready else CheckState.PENDING


def _bounded(standing: Standing, language: Language, render: Callable[[Sequence[Block]], str]) -> str:
    """As much as fits; the last bounds fit always."""
    *wider, narrowest = _BOUNDS
    for bounds in wider:
        text = render(_Sticky(standing, language, bounds).blocks())
        if len(text.encode()) <= MAX_BYTES:
            return text
    return render(_Sticky(standing, language, narrowest).blocks())


@dataclass(frozen=True, slots=True)
class _Sticky:
    """The comment's blocks, within bounds."""

    standing: Standing
    language: Language
    bounds: _Bounds

    def blocks(self) -> list[Block]:
        return [
            *self._headline(),
            *self._beside(),
            _heading("gates", self.language),
            Listing(tuple(self._gate(name) for name in GATES)),
            _heading("next", self.language),
            self._next(),
            *self._runs(),
            *self._foot(),
        ]

    def _headline(self) -> Iterator[Block]:
        one = self.standing
        stage = in_language(STAGES[one.stage], self.language)
        title = Strong(f"{_key(one)}: {_title(one, self.bounds.chars)}")
        yield Paragraph((title, *_spans("at_stage", self.language, stage=stage)))
        if _state(one) is CheckState.SUCCESS:
            yield Paragraph(_spans("is_done" if one.stage is Stage.DONE else "is_ready", self.language))
        elif waiting := required(one.waiting):
            yield Paragraph((*_spans("closest", self.language), *self._told(waiting[0])))
        else:
            yield Paragraph(_spans("under_way", self.language))

    def _beside(self) -> Iterator[Block]:
        """Notes that keep nobody from anything; what people can do about them stands below."""
        one = self.standing
        notes = one.waiting[len(required(one.waiting)) :]
        for item in notes[: self.bounds.items]:
            so = what_is(item, self.language, one.people, self.bounds.chars)
            todo = what_to_do(item, self.language, one.people, self.bounds.chars)
            yield Paragraph(so if item.who in PEOPLE else with_step(so, todo))

    def _gate(self, name: str) -> Spans:
        verdict = dict(self.standing.verdicts).get(name)
        head = (Strong(f"{name} {in_language(GATES[name], self.language)}"), Text(": "))
        match verdict:
            case None:
                is_past = _is_past(name, self.standing.stage)
                mark = ("✅ ", "open_before") if is_past else ("⬜ ", "not_reached")
                return (Text(mark[0]), *head, *_spans(mark[1], self.language))
            case Passed(held):
                return (Text("✅ "), *head, *self._listed("open", held))
            case Waiting(missing, held):
                return (Text("⏳ "), *head, *self._listed("waiting", missing), *self._besides(held))
            case Failed(reasons, held):
                return (Text("❌ "), *head, *self._listed("failed", reasons), *self._besides(held))
            case Unknown(observations, held):
                return (Text("❔ "), *head, *self._listed("unknown", observations), *self._besides(held))

    def _listed(self, word: str, found: Sequence[Item]) -> Spans:
        """The word, then the items, as many as the bounds allow."""
        told = self._within_bounds(found)
        return (*_spans(word, self.language), *((Text(" — "), *told) if told and self.bounds.items else told))

    def _besides(self, held: Sequence[Item]) -> Spans:
        """What a closed gate has already."""
        return (*_spans("holds", self.language), *self._within_bounds(held)) if held and self.bounds.items else ()

    def _within_bounds(self, found: Sequence[Item]) -> Spans:
        told = list(dict.fromkeys(tuple(self._told(item)) for item in found))
        rows = [span for spans_ in told[: self.bounds.items] for span in (Text("; "), *spans_)][1:]
        left = len(told) - self.bounds.items
        return (*rows, *(_spans("more", self.language, count=str(left)) if left > 0 else ()))

    def _told(self, item: Item) -> Spans:
        """How it is; then who can supply it, and what it rests on."""
        so = what_is(item, self.language, self.standing.people, self.bounds.chars)
        who = who_can(item, self.language)
        notes = [who] if who else []
        evidence = () if item.code in ANYBODYS else item.evidence
        shown = [self._evidence(one) for one in dict.fromkeys(evidence) if one][: self.bounds.evidence]
        notes += [one for one in shown if all(one.text != span.text for span in so)]
        joined = [span for one in notes for span in (Text("; "), one)][1:]
        return (*so, Text(" ("), *joined, Text(")")) if joined else so

    def _evidence(self, text: str) -> Span:
        if marks.is_address(text):
            return Link(_phrase("link", self.language), text)
        is_sha = len(text) in _SHA_CHARS and text.isalnum()
        return Code(text[:10] if is_sha else clean(text, 60))

    def _next(self) -> Block:
        """What people can do, each step once."""
        waiting = self.standing.waiting[:MAX_ASKED]
        asked = [item for item in waiting if item.who in PEOPLE or item.who not in {*WHO, ""}]
        rows = dict.fromkeys(self._step(item) for item in asked)
        if not rows:
            return Paragraph(_spans("nobody", self.language))
        return Listing(tuple(rows)[: max(self.bounds.items, 1)])

    def _step(self, item: Item) -> Spans:
        who = who_can(item, self.language)
        todo = what_to_do(item, self.language, self.standing.people, self.bounds.chars)
        head = () if who is None else (Strong(who.text) if item.who in PEOPLE else who, Text(": "))
        return (*head, *todo)

    def _runs(self) -> Iterator[Block]:
        every = sorted(self.standing.runs, key=lambda run: (place(run.stage), run.attempt))
        shown = every[len(every) - self.bounds.runs :] if len(every) > self.bounds.runs else every
        if not every:
            return
        rows = [self._run(run) for run in shown]
        if left := len(every) - len(shown):
            rows.insert(0, _spans("earlier_runs", self.language, count=str(left)))
        yield _heading("runs", self.language)
        yield Listing(tuple(rows))

    def _run(self, run: RunFact) -> Spans:
        role = step_of_stage(run.stage).role or ""
        outcome = in_language(OUTCOMES[run.outcome], self.language) if run.outcome else ""
        if run.state is not RunState.ENDED:
            outcome = _phrase(run.state.value, self.language)
        shown = {"role": in_language(ROLES.get(role, ("?", "?")), self.language), "attempt": str(run.attempt)}
        reason = clean(run.reason, 60)
        return (
            *_spans("run", self.language, outcome=outcome or "?", **shown),
            *((Text(" ("), Code(reason), Text(")")) if reason else ()),
            *(_spans("published", self.language, head=run.head) if run.head else ()),
        )

    def _foot(self) -> Iterator[Block]:
        one = self.standing
        if one.returns_allowed:
            counts = {"used": str(one.returns), "allowed": str(one.returns_allowed)}
            yield Paragraph(_spans("returns", self.language, **counts))
        parts: list[Spans] = []
        if one.branch:
            parts.append(_spans("branch", self.language, branch=clean(one.branch, 120)))
        if item := _item_link(one, self.language):
            parts.append(item)
        if marks.is_address(one.pull):
            parts.append((Link(_phrase("pull", self.language), one.pull),))
        if link := _task_link(one, self.language)[1:]:
            parts.append(link)
        if parts:
            yield Paragraph(tuple(span for part in parts for span in (Text(" · "), *part))[1:])


def _is_past(gate: str, stage: Stage) -> bool:
    return next(place(step.stage) for step in STEPS if step.gate == gate) < place(stage)


def _key(standing: Standing) -> str:
    """It begins a line, so nothing but a key may stand there."""
    return standing.key if is_key(standing.key) else "—"


def _title(standing: Standing, max_chars: int) -> str:
    return clean(standing.title, max_chars) or "—"


def _on_one_line(item: Item, language: Language, people: People) -> str:
    """With what to do where all of it fits: half a command would be a wrong one."""
    so = marks.plain(what_is(item, language, people))
    whole = sentence(item, language, people).replace("`", "")
    who = who_can(item, language)
    return whole if len(whole) <= MAX_STATUS_CHARS or who is None else f"{so} ({who.text})"


def _document(path: str, address: str) -> Spans:
    name = clean(path, 200)
    return (Link(name, address),) if marks.is_address(address) else (Code(name),)


def _item_link(standing: Standing, language: Language) -> Spans:
    """Nothing without an address."""
    return (Link(_phrase("item", language), standing.item),) if marks.is_address(standing.item) else ()


def _task_link(standing: Standing, language: Language) -> Spans:
    """With a space before it; nothing without an address."""
    link = Link(_phrase("task", language), standing.task_link)
    return (Text(" "), link) if marks.is_address(standing.task_link) else ()


def _heading(name: str, language: Language) -> Block:
    return Paragraph((Strong(_phrase(name, language)),))


def _phrase(name: str, language: Language) -> str:
    return in_language(PHRASES[name], language)


def _spans(name: str, language: Language, **params: str) -> Spans:
    return spans(_phrase(name, language), params)
