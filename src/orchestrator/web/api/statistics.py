"""Money, times and rework, added up."""

from dataclasses import asdict
from datetime import date
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from orchestrator.store.statistics import MOST_DAYS
from orchestrator.store.statistics import Statistics as Found
from orchestrator.store.statistics import statistics as found_in
from orchestrator.web.api.problems import EVERYWHERE
from orchestrator.web.services import Given

router = APIRouter(responses=EVERYWHERE)
DAYS = 30


class Money(BaseModel):
    """What ended runs used."""

    runs: int
    turns: int
    input_tokens: int
    output_tokens: int
    cost_usd: float = Field(examples=[12.5])


class OfDay(Money):
    """One day, in UTC."""

    day: date


class OfRole(Money):
    """One role."""

    role: str = Field(examples=["developer"])


class OfProject(Money):
    """One project, named by its repository; empty for tasks that had none."""

    project: str = Field(examples=["acme/enduro-trails"])


class Ends(BaseModel):
    """How often runs ended like this."""

    outcome: str = Field(examples=["succeeded"])
    runs: int


class Durations(BaseModel):
    """Seconds that some stays took; each is of a task that left the stage."""

    count: int
    mean_s: float
    median_s: int
    p90_s: int = Field(description="nine of ten took no longer")


class OfStage(Durations):
    """From entering a stage to leaving it."""

    stage: str = Field(examples=["review"])


class OfGate(Durations):
    """How long of that no agent was at work: the gate waited for somebody, or for a slot."""

    gate: str = Field(examples=["QG-5"])


class OfCause(BaseModel):
    """How often tasks were sent back for this."""

    cause: str = Field(examples=["ci_red"])
    times: int


class Statistics(BaseModel):
    """From `first` to `last`, both included."""

    first: date
    last: date
    total: Money
    by_day: list[OfDay] = Field(description="every day, those without runs too")
    by_role: list[OfRole]
    by_project: list[OfProject]
    outcomes: list[Ends]
    lead: list[OfStage] = Field(description="in the pipeline's order")
    waits: list[OfGate] = Field(description="in the pipeline's order")
    rework: list[OfCause] = Field(description="the most frequent first")
    done: int = Field(description="tasks that were merged")


@router.get("/api/v1/statistics", tags=["statistics"], summary="Cost, lead times, waits and rework")
async def statistics(
    services: Given,
    days: Annotated[int, Query(ge=1, le=MOST_DAYS, description="up to today, which is one of them")] = DAYS,
) -> Statistics:
    """Of the last days, in UTC."""
    now = services.clock.now()
    return _shown(await services.database.read(lambda connection: found_in(connection, now, days)))


def _shown(found: Found) -> Statistics:
    return Statistics(
        first=found.first,
        last=found.last,
        total=Money(**asdict(found.total)),
        by_day=[OfDay(day=day, **asdict(spent)) for day, spent in found.by_day],
        by_role=[OfRole(role=role, **asdict(spent)) for role, spent in found.by_role],
        by_project=[OfProject(project=name, **asdict(spent)) for name, spent in found.by_project],
        outcomes=[Ends(outcome=outcome, runs=runs) for outcome, runs in found.outcomes],
        lead=[OfStage(stage=stage, **asdict(times)) for stage, times in found.lead],
        waits=[OfGate(gate=gate, **asdict(times)) for gate, times in found.waits],
        rework=[OfCause(cause=cause, times=times) for cause, times in found.rework],
        done=found.done,
    )
