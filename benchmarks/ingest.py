"""Durable ingest: a burst of signed pushes against the service, a bare hello, and the specification's own way."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field

from benchmarks.load import Order, Result
from benchmarks.processes import GITEA_SECRET, Server, baseline, burst, lonely_service, server_of
from benchmarks.report import Figure, median
from benchmarks.scale import Bench, Scale

PATH = "/webhook/gitea"
_BURSTS = 4


@dataclass(frozen=True, slots=True)
class _Rival:
    """Whom bursts are sent to. `seen` and `cpu_us` (processor time a request) gather one value a burst."""

    name: str
    server: Server
    secret: str
    seen: list[Result] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)

    def of(self, what: Callable[[Result], float]) -> float:
        return median([what(result) for result in self.seen])

    @property
    def per_s(self) -> float:
        return self.of(lambda result: result.per_s)

    @property
    def so_far(self) -> str:
        p99, cpu_us = self.of(lambda result: result.p99_ms), median(self.cpu_us)
        return f"{self.per_s:,.0f}/s, p99 {p99:.1f} ms, {cpu_us:,.0f} µs of its processor (medians so far)"


def measure(bench: Bench) -> list[Figure]:
    """Bursts are interleaved, so that a change of the machine's mood meets everybody. It changes by the
    second, and the slow one's burst alone takes seconds: who is quick gets `_BURSTS` turns to one of his.
    """
    with contextlib.ExitStack() as servers:
        hello = servers.enter_context(baseline("hello", bench.folder))
        spec = servers.enter_context(baseline("spec", bench.at("spec")))
        service = servers.enter_context(lonely_service(bench.at("ingest")))
        quick = (
            _Rival("service", server_of(service), GITEA_SECRET),
            _Rival("hello, GET", hello, ""),
            _Rival("hello, same burst", hello, GITEA_SECRET),
        )
        slow = _Rival("spec", spec, GITEA_SECRET)
        for rival in (*quick, slow):
            _send(rival, "warm-up", max(bench.scale.burst // 10, 10), bench.scale.connections)
        for turn in range(bench.scale.repeats):
            for rival in (*quick * _BURSTS, slow):
                _measure(rival, bench.scale)
            for rival in (*quick, slow):
                bench.tell(f"  round {turn + 1}, {rival.name}: {rival.so_far}")
    return _figures(*quick, slow)


def _measure(rival: _Rival, scale: Scale) -> None:
    before = rival.server.cpu_s()
    rival.seen.append(_send(rival, str(len(rival.seen)), scale.burst, scale.connections))
    rival.cpu_us.append((rival.server.cpu_s() - before) / scale.burst * 1e6)


def _send(rival: _Rival, seed: str, count: int, connections: int) -> Result:
    result = burst(Order(rival.server.port, PATH, rival.secret, count, connections, seed))
    if result.refused:
        raise RuntimeError(f"{rival.name} refused {result.refused} of {count} requests: nothing was measured.")
    return result


def _figures(service: _Rival, hello: _Rival, reading: _Rival, spec: _Rival) -> list[Figure]:
    rate = service.per_s
    busy = service.of(lambda result: result.busy)
    note = f"the load generator used {busy:.0%} of a core for it, {hello.of(lambda r: r.busy):.0%} for hello"
    p50, p99 = service.of(lambda r: r.p50_ms), service.of(lambda r: r.p99_ms)
    return [
        Figure(
            "ingest", rate, "/s", "hello, same burst", reading.per_s, at_least=0.25, judges_ratio=True, note=note
        ),
        Figure("ingest", rate, "/s", "hello, GET without a body", hello.per_s),
        Figure("ingest", rate, "/s", "spec", spec.per_s, at_least=6, judges_ratio=True),
        Figure(
            "ingest, processor time", median(service.cpu_us), "µs", "hello, same burst", median(reading.cpu_us)
        ),
        Figure("ingest, processor time", median(service.cpu_us), "µs", "spec", median(spec.cpu_us)),
        Figure("ingest p50", p50, "ms", "spec", spec.of(lambda r: r.p50_ms)),
        Figure("ingest p99", p99, "ms", "spec", spec.of(lambda r: r.p99_ms), at_most=100),
    ]
