"""Start: from the process to the first answer of /health."""

import time

from benchmarks.processes import baseline, get, lonely_service, port_of
from benchmarks.report import Figure, median
from benchmarks.scale import Bench
from orchestrator.sim.world import Service


def measure(bench: Bench) -> list[Figure]:
    fresh, existing, hello = list[float](), list[float](), list[float]()
    home = bench.at("existing")
    _started_s(lonely_service(home))
    for turn in range(bench.scale.starts):
        fresh.append(_started_s(lonely_service(bench.at(f"fresh-{turn}"))))
        existing.append(_started_s(lonely_service(home)))
        hello.append(_hello_s(bench))
        bench.tell(f"  start {turn + 1}: fresh {fresh[-1]:.2f} s, existing database {existing[-1]:.2f} s")
    limit = median(hello)
    return [
        Figure("start, fresh database", median(fresh), "s", "hello", limit, at_most=1),
        Figure("start, existing database", median(existing), "s", "hello", limit, at_most=1),
    ]


def _started_s(service: Service) -> float:
    began = time.perf_counter()
    with service:
        get(port_of(service), "/health")
        return time.perf_counter() - began


def _hello_s(bench: Bench) -> float:
    began = time.perf_counter()
    with baseline("hello", bench.folder):
        return time.perf_counter() - began
