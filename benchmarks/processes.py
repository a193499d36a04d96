"""The processes that benchmarks start: load generator, baselines, the service itself."""

import contextlib
import http.client
import json
import os
import subprocess  # noqa: TID251 - benchmarks measure real processes, and start them here alone
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.load import BURST_LIMIT_S, Order, Result
from benchmarks.scale import ROOT
from orchestrator.sim.world import Service

PLANE_SECRET, GITEA_SECRET = "bench-plane-secret", "bench-gitea-secret"
STOP_S = 10.0
ANSWER_S = 30.0


def burst(order: Order) -> Result:
    """One burst from a process of its own, so that it does not share an interpreter with anything."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.load", json.dumps(asdict(order))],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        check=True,
        timeout=2 * BURST_LIMIT_S,
    )
    return Result(**json.loads(done.stdout))


@dataclass(frozen=True, slots=True)
class Server:
    """Whom a burst is sent to."""

    port: int
    pid: int

    def cpu_s(self) -> float:
        """Processor time that all its threads have used so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory_mb(self) -> tuple[float, float]:
        """Resident now, and at most so far."""
        lines = Path(f"/proc/{self.pid}/status").read_text(encoding="utf-8").splitlines()
        kib = {name: text.split()[0] for name, _, text in (line.partition(":") for line in lines) if text.strip()}
        return int(kib["VmRSS"]) / 1024, int(kib["VmHWM"]) / 1024


@contextlib.contextmanager
def baseline(name: str, folder: Path) -> Iterator[Server]:
    """Serves one of `benchmarks.baseline`; begins when it listens."""
    argv = [sys.executable, "-m", "benchmarks.baseline", name, str(folder)]
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout
        try:
            port = int(process.stdout.readline())
            get(port, "/")
            yield Server(port, process.pid)
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP_S)
            process.kill()


def lonely_service(folder: Path, **more: str) -> Service:
    """A service that knows neither Plane nor Gitea: it journals, and every task waits."""
    environ = {
        "ORCH_PORT": "0",
        "ORCH_DATA_DIR": str(folder / "data"),
        "ORCH_CONFIG": str(folder / "orchestrator.yaml"),
        "ORCH_PLANE_WEBHOOK_SECRET": PLANE_SECRET,
        "ORCH_GITEA_WEBHOOK_SECRET": GITEA_SECRET,
        **more,
    }
    return Service(folder, environ)


def port_of(service: Service) -> int:
    return int(service.url.rpartition(":")[2])


def port_when_loaded(service: Service) -> int:
    """Until then it holds what it is asked, and a figure would be of its start."""
    port = port_of(service)
    get(port, "/webhook/plane")  # nobody sends a delivery so
    return port


def server_of(service: Service) -> Server:
    assert service.process is not None
    return Server(port_when_loaded(service), service.process.pid)


def get(port: int, path: str) -> bytes:
    """One GET over a connection of its own; raises OSError for anything but 200, 404 and 405."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_S)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
    finally:
        connection.close()
    if answer.status not in {200, 404, 405}:
        raise OSError(f"GET {path} was answered {answer.status}: {body[:200]!r}")
    return body


def spawned_ms(argv: Sequence[str], folder: Path) -> float:
    """From the call that spawns it to the first instruction of a program that writes the time to $HOME/first."""
    began = time.clock_gettime_ns(time.CLOCK_REALTIME)
    subprocess.run(
        list(argv), env={"PATH": os.environ["PATH"], "HOME": str(folder)}, stdin=subprocess.DEVNULL, check=True
    )
    return (int((folder / "first").read_text()) - began) / 1e6
