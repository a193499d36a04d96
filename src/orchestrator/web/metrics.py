"""/metrics for Prometheus: what was counted and what is so now. docs/reference/metrics.md explains the names.

Imported when somebody first asks, in a thread: the client library takes longer to load than all our own modules.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector, CollectorRegistry

from orchestrator import __version__
from orchestrator.domain.model import Stage
from orchestrator.domain.roles import Role
from orchestrator.store.dispatch import PauseKind
from orchestrator.store.gauges import Gauges

PREFIX = "orchestrator_"


@dataclass(frozen=True, slots=True)
class Calls:
    """One neighbour, as all our users together call it."""

    answers: Mapping[str, int]
    left: int | None
    waiting: int
    paused_s: float
    refusals: int


@dataclass(frozen=True, slots=True)
class Measured:
    """Everything at one moment, copied in the event loop: what is counted there may grow meanwhile."""

    gauges: Gauges
    deliveries: Mapping[tuple[str, str], int]
    refused: Mapping[tuple[str, str, str], int]
    looks: Mapping[str, int]
    look_bounds: Sequence[float]
    look_counts: Sequence[int]
    look_seconds: float
    resyncs: Mapping[str, int]
    calls: Mapping[str, Calls]
    streams: int
    runs_disk_bytes: int


def exposed(measured: Measured, accept: str) -> tuple[bytes, str]:
    """The text, and its media type: OpenMetrics when it is asked for."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Once(measured))
    encode, media_type = choose_encoder(accept)
    return encode(registry), media_type


class _Once(Collector):
    def __init__(self, measured: Measured) -> None:
        self._measured = measured

    def collect(self) -> Iterator[Metric]:
        one = self._measured
        yield _gauge(
            "build_info", "Always 1; the label says which version runs.", ["version"], {(__version__,): 1}
        )
        yield from _of_ingest(one)
        yield from _of_looks(one)
        yield from _of_runs(one.gauges)
        yield from _of_queues(one)
        yield from _of_calls(one.calls)


Numbers = Mapping[Any, float]
"""By the values of the labels."""


def _counter(name: str, text: str, labels: Sequence[str], numbers: Numbers) -> CounterMetricFamily:
    family = CounterMetricFamily(PREFIX + name, text, labels=labels)
    for values, number in sorted(numbers.items()):
        family.add_metric(values, number)
    return family


def _gauge(name: str, text: str, labels: Sequence[str], numbers: Numbers) -> GaugeMetricFamily:
    family = GaugeMetricFamily(PREFIX + name, text, labels=labels)
    for values, number in sorted(numbers.items()):
        family.add_metric(values, number)
    return family


def _of_ingest(one: Measured) -> Iterator[Metric]:
    yield _counter(
        "deliveries",
        "Deliveries that were answered with 200, by what they were told.",
        ["source", "result"],
        one.deliveries,
    )
    yield _counter(
        "deliveries_refused",
        "Deliveries that were not taken, by the status and code that their sender got.",
        ["source", "status", "code"],
        one.refused,
    )
    yield _counter("events", "Rows of the journal.", [], {(): one.gauges.events})
    at = one.gauges.last_event_at
    yield _gauge(
        "last_event_timestamp_seconds",
        "When the newest event of the journal came.",
        [],
        {(): at.timestamp()} if at else {},
    )


def _of_looks(one: Measured) -> Iterator[Metric]:
    yield _counter(
        "looks", "Looks at tasks, by how they ended.", ["result"], {(how,): n for how, n in one.looks.items()}
    )
    bounds = [*(str(bound) for bound in one.look_bounds), "+Inf"]
    buckets = list(zip(bounds, accumulate(one.look_counts), strict=True))
    family = HistogramMetricFamily(
        PREFIX + "look_duration_seconds", "How long looks took, waits for calls included."
    )
    family.add_metric([], buckets, sum_value=one.look_seconds)
    yield family
    resyncs = {(how,): n for how, n in one.resyncs.items()}
    yield _counter("resyncs", "Resyncs, by how they ended.", ["result"], resyncs)
    yield _counter("decisions", "Decisions that were stored.", [], {(): one.gauges.decisions})


def _of_runs(now: Gauges) -> Iterator[Metric]:
    roles = [role.value for role in Role]
    started = _added(
        [((one.role,), one.started) for one in now.ended] + [((one.role,), one.started) for one in now.open]
    )
    yield _counter("runs_started", "Runs whose agent was launched.", ["role"], started)
    ended = {(one.role, one.outcome): one.runs for one in now.ended}
    yield _counter("runs_ended", "Runs that are over.", ["role", "outcome"], ended)
    for name, text, is_at_work in (
        ("runs_at_work", "Runs that have a slot now.", True),
        ("runs_waiting", "Runs that wait for a slot now.", False),
    ):
        found = {one.role: one.runs for one in now.open if one.is_at_work is is_at_work}
        yield _gauge(name, text, ["role"], {(role,): found.get(role, 0) for role in roles})
    yield _counter("run_turns", "Turns of ended runs.", ["role"], _added(((e.role,), e.turns) for e in now.ended))
    tokens = [((one.role, "input"), one.input_tokens) for one in now.ended]
    tokens += [((one.role, "output"), one.output_tokens) for one in now.ended]
    yield _counter("run_tokens", "Tokens of ended runs.", ["role", "kind"], _added(tokens))
    cost = _added(((one.role,), one.cost_usd) for one in now.ended)
    yield _counter("run_cost_usd", "US dollars of ended runs, as the CLI reckons.", ["role"], cost)


def _of_queues(one: Measured) -> Iterator[Metric]:
    now = one.gauges
    stages = {(stage.value,): 0 for stage in Stage} | {(stage,): count for stage, count in now.tasks}
    yield _gauge("tasks", "Tasks, by the stage where they stand.", ["stage"], stages)
    yield _gauge("events_unprocessed", "Events that no look has seen yet.", [], {(): now.unprocessed})
    yield _gauge(
        "effects_due", "Writes to Plane and Gitea that are decided and not done.", [], {(): now.effects_due}
    )
    pauses = {(kind.value,): float(kind in now.pauses) for kind in PauseKind}
    yield _gauge("dispatch_paused", "1 while no agent is started for this reason.", ["kind"], pauses)
    yield _gauge(
        "runs_disk_bytes", "What all runs' folders hold, as last measured.", [], {(): one.runs_disk_bytes}
    )
    yield _gauge("streams", "Readers that follow a live page or stream.", [], {(): one.streams})


def _of_calls(calls: Mapping[str, Calls]) -> Iterator[Metric]:
    answers = {(name, status): n for name, one in calls.items() for status, n in one.answers.items()}
    yield _counter("calls", "Calls to Plane and Gitea, by what came back.", ["system", "status"], answers)
    left = {(name,): one.left for name, one in calls.items() if one.left is not None}
    yield _gauge("calls_left", "Calls that could be made at once within the rate limit.", ["system"], left)
    waiting = {(name,): one.waiting for name, one in calls.items()}
    yield _gauge("calls_waiting", "Calls that wait for their turn.", ["system"], waiting)
    paused = {(name,): one.paused_s for name, one in calls.items()}
    yield _gauge("calls_paused_seconds", "How long nothing is sent, as the system asked.", ["system"], paused)
    refused = {(name,): one.refusals for name, one in calls.items()}
    yield _gauge("calls_refused", "Kinds of calls that are refused and rest.", ["system"], refused)


def _added(numbers: Iterable[tuple[tuple[str, ...], float]]) -> Numbers:
    found: Counter[tuple[str, ...]] = Counter()
    for key, number in numbers:
        found[key] += number  # type: ignore[assignment]  # a Counter adds what it is given, dollars too
    return found
