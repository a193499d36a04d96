"""`/metrics`: takes a picture of what is counted, and has it written in a thread."""

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request, Response

from orchestrator.store.gauges import gauges
from orchestrator.web.api.problems import EVERYWHERE
from orchestrator.web.services import Given, Neighbour, Services

if TYPE_CHECKING:
    from orchestrator.web.metrics import Calls, Measured

router = APIRouter(responses=EVERYWHERE)
_TEXT: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Prometheus' text format, or OpenMetrics when `Accept` asks for it.",
        "content": {
            "text/plain": {"schema": {"type": "string"}, "example": "orchestrator_decisions_total 17.0\n"},
            "application/openmetrics-text": {"schema": {"type": "string"}},
        },
    }
}


@router.get(
    "/metrics",
    tags=["statistics"],
    summary="Counters and gauges for Prometheus",
    response_class=Response,
    responses=_TEXT,
)
async def metrics(services: Given, request: Request) -> Response:
    """Totals of runs, money and the journal outlive a restart; what is counted in memory begins anew."""
    measured = await _measured(services)
    body, media_type = await asyncio.to_thread(_written, measured, request.headers.get("accept", ""))
    return Response(body, headers={"Content-Type": media_type, "Cache-Control": "no-store"})


async def _measured(services: Services) -> "Measured":
    stored = await services.database.read(gauges)
    make_calls, make = await asyncio.to_thread(_shapes)
    counted, times = services.counters, services.counters.look_times
    users: dict[str, list[Neighbour]] = {}
    for one in services.neighbours:
        users.setdefault(one.system, []).append(one)
    return make(
        gauges=stored,
        deliveries=dict(counted.deliveries),
        refused=dict(counted.refused),
        looks=dict(counted.looks),
        look_bounds=times.bounds,
        look_counts=tuple(times.counts),
        look_seconds=times.seconds,
        resyncs=dict(counted.resyncs),
        calls={name: _calls(make_calls, them) for name, them in users.items()},
        streams=services.changes.followers,
        runs_disk_bytes=services.runs_disk_bytes(),
    )


def _calls(make: "type[Calls]", users: list[Neighbour]) -> "Calls":
    answers: Counter[str] = Counter()
    for one in users:
        answers.update(one.answers)
    paces = [one.pace for one in users if one.pace]
    return make(
        answers=answers,
        left=min((one.left for one in paces), default=None),
        waiting=sum(one.waiting for one in paces),
        paused_s=max([one.paused_s for one in paces] + [one.circuit.paused_s for one in users], default=0.0),
        refusals=sum(len(one.circuit.refusals) for one in users),
    )


def _shapes() -> "tuple[type[Calls], type[Measured]]":
    from orchestrator.web.metrics import Calls, Measured  # noqa: PLC0415 - its library is slow to load

    return Calls, Measured


def _written(measured: "Measured", accept: str) -> tuple[bytes, str]:
    from orchestrator.web.metrics import exposed  # noqa: PLC0415 - as above

    return exposed(measured, accept)
