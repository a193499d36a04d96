"""What goes over the wire, and how it is made of what the store says."""

from dataclasses import asdict
from datetime import datetime
from typing import Any

import msgspec
from pydantic import BaseModel, Field

from orchestrator.domain.finding import Finding
from orchestrator.domain.roles import Language, Role
from orchestrator.qg.verdict import Item, Passed, Unknown, Verdict, items
from orchestrator.store import remarks
from orchestrator.store.decisions import Told
from orchestrator.store.lists import DecisionStory, EventStory, EventView
from orchestrator.store.views import RunView, TaskView
from orchestrator.words.findings import in_words
from orchestrator.words.sentences import sentence

MAX_TASK_CHARS = 200_000
NEXT: Any = Field(description="`cursor` of the next page; null when there is none", examples=["dDQy"])


class Run(BaseModel):
    """One attempt of one role."""

    id: int
    task: str = Field(description="the key of its task")
    role: str
    stage: str
    attempt: int
    state: str = Field(description="intended, running or ended")
    outcome: str | None = Field(description="why it ended; null while it has not")
    reason: str
    detail: str
    turns: int
    input_tokens: int
    output_tokens: int
    cost_usd: float = Field(description="0 until the run has ended by itself; its result tells the cost")
    exit_code: int | None
    cli_version: str
    model: str
    sandbox: str
    prompt_digest: str | None = Field(description="SHA-256 of all that the agent was told; null before its launch")
    head_sha: str | None = Field(description="the commit that was published")
    started_at: datetime | None
    finished_at: datetime | None
    last_activity_at: datetime | None = Field(description="when the agent last printed something")
    resets_at: datetime | None = Field(description="of a used-up usage window: when the next one begins")
    resumes: int | None = Field(description="the attempt of this stage that it was to go on from")
    denials: list[str] = Field(description="tools that it was denied, one entry for each time")
    output_path: str | None
    waits_for: str | None = Field(description="the code of why it has not started, or is not published, yet")
    log: str = Field(description="where the log is read, relative to this service")


class Waits(BaseModel):
    """One reason why a task does not go on."""

    code: str
    who: str = Field(
        description="who can supply it: a role (operator, approver, agent, ci, …), or a person as `@login`"
    )
    text: str
    params: dict[str, str]


class Held(BaseModel):
    """One thing that an open gate rests on, or that a closed one has already."""

    code: str
    text: str
    params: dict[str, str]
    evidence: list[str]


class Gate(BaseModel):
    """The newest verdict on a gate."""

    gate: str
    state: str = Field(description="open, closed or unknown (it could not be looked at)")
    held: list[Held]
    missing: list[Waits]


class Asked(BaseModel):
    """What people may approve or reject now; both go with the word."""

    gate: str = Field(examples=["QG-1"])
    digest: str = Field(description="of the documents as we saw them last")
    documents: list[str] = Field(examples=[["brd"]])


class Task(BaseModel):
    """A work item on its way."""

    id: int
    key: str
    title: str
    stage: str
    repo: str | None
    branch: str
    plane_id: str | None
    plane_project_id: str | None
    item_link: str | None = Field(description="where browsers see the work item; needs ORCH_PLANE_PUBLIC_URL")
    head_sha: str | None
    agent_running: bool
    created_at: datetime
    updated_at: datetime
    waiting: list[Waits]
    runs: list[Run]
    returns: list[str] = Field(description="what sent it back, oldest first")
    gates: list[Gate] = Field(description="those that it has come to; empty in lists")
    asked: Asked | None = Field(None, description="null where no person is asked about documents, and in lists")


class Lack(BaseModel):
    """Something missing or broken, and how to mend it."""

    code: str
    level: str
    message: str
    mend: str


class Status(BaseModel):
    """Tasks that are not done, newest first, each with its last run."""

    active_tasks: list[Task]
    problems: list[Lack]


class Ready(BaseModel):
    """Whether the service can do its duty, and what is missing for all of it."""

    ready: bool
    version: str
    findings: list[Lack]


class NewTask(BaseModel):
    """A task without a work item: one role, once, on a branch of its own."""

    repository: str = Field(
        description="owner/name, one that orchestrator.yaml maps", examples=["acme/enduro-trails"]
    )
    role: Role
    task: str = Field(min_length=1, max_length=MAX_TASK_CHARS, description="what is to be done, for the agent")
    title: str = Field("", max_length=300)


class Accepted(BaseModel):
    """The task's key, and where to follow it."""

    key: str = Field(examples=["TASK-7"])
    url: str = Field(examples=["/api/v1/tasks/TASK-7"])


class Done(BaseModel):
    """What was begun."""

    status: str = Field(examples=["retrying"])


class Tasks(BaseModel):
    """A page of tasks, newest first, each with its last run only."""

    items: list[Task]
    next: str | None = NEXT


class Runs(BaseModel):
    """A page of runs, newest first."""

    items: list[Run]
    next: str | None = NEXT


class Event(BaseModel):
    """A delivery of the journal, without its body."""

    id: int
    received_at: datetime
    source: str = Field(examples=["gitea"])
    event_type: str = Field(examples=["push"])
    action: str
    task: str | None = Field(description="the key of its task, once it has one", examples=["ENDURO-1"])
    has_task: bool
    delivery_id: str
    event_id: str | None = Field(description="Plane's own id, of its newer webhooks")
    body_sha256: str
    is_processed: bool = Field(description="a look at its task has seen it, or there is none to be woken")
    ignored: str | None = Field(description="why nobody was woken", examples=["belongs to no task"])
    flag: str | None = Field(description="`delivery_id_reused`: another body came under a known delivery id")
    repeats: int = Field(description="how often the same content came again")
    last_repeat_at: datetime | None


class Events(BaseModel):
    """A page of the journal, newest first. It may be short, or empty, and still have a next one: a page looks at a
    bounded number of events.
    """

    items: list[Event]
    next: str | None = NEXT


class Header(BaseModel):
    """One header of a delivery."""

    name: str
    value: str


class GateWord(BaseModel):
    """How a gate was judged."""

    gate: str = Field(examples=["QG-1"])
    state: str = Field(description="open, closed or unknown (it could not be looked at)")


class Decision(BaseModel):
    """What was decided at one moment. Stored when it differs from the one before."""

    id: int
    decided_at: datetime
    stage: str = Field(description="where the task stands after it")
    actions: list[str] = Field(description="what was to be done", examples=[["StartRun"]])
    waiting: list[Waits]
    gates: list[GateWord] = Field(description="those that were judged")
    config_digest: str = Field(description="of the project's configuration and the pipeline")


class Decisions(BaseModel):
    """A page of one task's decisions, newest first."""

    items: list[Decision]
    next: str | None = NEXT


class WholeDecision(Decision):
    """With all that it rested on."""

    task: str = Field(description="the key of its task")
    verdicts: list[Gate]
    basis: dict[str, Any] = Field(
        description="project, task and facts as they were; `orch verify` decides by them"
    )


class WholeEvent(Event):
    """A delivery as it came, and what it led to."""

    headers: list[Header]
    body: str = Field(description="what was signed, byte for byte")
    decisions: list[Decision] = Field(description="of its task, until its next event; at least the first after it")
    runs: list[Run] = Field(description="those that these decisions intended")


def task(view: TaskView, item_link: str | None, language: Language, asked: remarks.Asked | None = None) -> Task:
    made = {"waiting", "runs", "gates", "item_link", "asked"}
    shown = {name: getattr(view, name) for name in Task.model_fields if name not in made}
    return Task(
        **shown,
        item_link=item_link,
        waiting=[_waits(item, language) for item in view.waiting],
        runs=[run(one) for one in view.runs],
        gates=[_gate(name, verdict, language) for name, verdict in view.gates],
        asked=_asked(asked) if asked else None,
    )


def _asked(about: remarks.Asked) -> Asked:
    return Asked(gate=about.gate, digest=about.digest, documents=[one.name.value for one in about.documents])


def _waits(item: Item, language: Language) -> Waits:
    return Waits(code=item.code, who=item.who, text=sentence(item, language), params=dict(item.params))


def _gate(name: str, verdict: Verdict, language: Language) -> Gate:
    held = [
        Held(
            code=item.code,
            text=sentence(item, language),
            params=dict(item.params),
            evidence=list(item.evidence),
        )
        for item in verdict.held
    ]
    return Gate(
        gate=name, state=_state(verdict), held=held, missing=[_waits(item, language) for item in items(verdict)]
    )


def _state(verdict: Verdict) -> str:
    closed = "unknown" if isinstance(verdict, Unknown) else "closed"
    return "open" if isinstance(verdict, Passed) else closed


def run(view: RunView) -> Run:
    shown = {name: getattr(view, name) for name in Run.model_fields if name not in {"waits_for", "log"}}
    waits_for = view.waits_for.code if view.waits_for else None
    return Run(**shown, waits_for=waits_for, log=f"/api/v1/runs/{view.id}/log")


def lack(finding: Finding) -> Lack:
    """In English, whoever asks: programs compare it, and logs keep it."""
    return Lack(**asdict(in_words(finding, Language.EN)))


def event(view: EventView) -> Event:
    return Event(**_event(view))


def _event(view: EventView) -> dict[str, Any]:
    """Not `asdict`: it copies deeply, which takes longer than all else of a page."""
    return {name: getattr(view, name) for name in Event.model_fields}


def whole_event(story: EventStory, language: Language) -> WholeEvent:
    return WholeEvent(
        **_event(story.event),
        headers=[Header(name=name, value=value) for name, value in story.headers],
        body=story.body,
        decisions=[decision(one, language) for one in story.decisions],
        runs=[run(one) for one in story.runs],
    )


def decision(told: Told, language: Language) -> Decision:
    return Decision(**_decision(told, language))


def whole_decision(story: DecisionStory, language: Language) -> WholeDecision:
    return WholeDecision(
        **_decision(story.told, language),
        task=story.task,
        verdicts=[_gate(name, verdict, language) for name, verdict in story.told.decision.verdicts],
        basis=msgspec.json.decode(story.basis_text),
    )


def _decision(told: Told, language: Language) -> dict[str, Any]:
    made = told.decision
    return {
        "id": told.id,
        "decided_at": told.decided_at,
        "stage": made.stage,
        "actions": [type(one).__name__ for one in made.actions],
        "waiting": [_waits(item, language) for item in made.waiting],
        "gates": [GateWord(gate=name, state=_state(verdict)) for name, verdict in made.verdicts],
        "config_digest": told.config_digest,
    }
